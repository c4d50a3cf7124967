INSERT INTO accounts VALUES ('account', 'thumbprint', 'valid', 1700000000000, 0, 'binding', '["mailto:a@example.com"]', x'7b7d', '{"payload":"e30"}');
INSERT INTO orders VALUES ('order', 'account', 'tls-server', 0, 0, '', x'', 1700000000000, 1700003600000, 1700000001000,
    '00112233445566ff', x'0196000000000000000000000000000000000001', '[{"type":"dns","value":"a.example"},{"type":"ip","value":"10.0.0.1"}]', '["authz1","authz2"]', '');
INSERT INTO authorizations VALUES ('authz1', 'account', 'order', 'dns', 'a.example', 0, 'token1', '["http-01"]', 'valid', 1700000000000, 1700003600000,
    'http-01', 'thumbprint', 1700000000500, 0, 0, '',
    '{"method":"http-01","started":"2023-11-14T22:13:20Z","took":1000},{"method":"http-01","started":"2023-11-14T22:13:21Z","took":1000,"failure":{"kind":"dns","text":"no such name"}}');
INSERT INTO authorizations VALUES ('authz2', 'account', 'another', 'ip', '10.0.0.1', 0, 'token2', '["http-01"]', 'valid', 1700000000000, 1700003600000,
    'http-01', 'thumbprint', 1700000000500, 0, 0, '', '');
INSERT INTO authorization_reuses VALUES ('authz2', 'order');
INSERT INTO intents VALUES (x'0196000000000000000000000000000000000002', '00112233445566ff', 'order', 'another', 1, 1700000000000, 1700000060000, CAST('tbs' AS BLOB), CAST('request' AS BLOB));
INSERT INTO certificates VALUES (x'0196000000000000000000000000000000000001', '00112233445566ff', 'order', 'order', 'account', 'acme:account', 'tls-server', 'default',
    x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1700000000000, 1707776000000, 1700000002000, 0, 1700000003000, 1,
    '[{"type":"dns","value":"a.example"},{"type":"ip","value":"10.0.0.1"}]', x'3000');
INSERT INTO certificate_names VALUES ('a.example', x'0196000000000000000000000000000000000001', '00112233445566ff');
INSERT INTO certificate_names VALUES ('10.0.0.1', x'0196000000000000000000000000000000000001', '00112233445566ff');
INSERT INTO issuers VALUES ('00112233445566ff', x'00112233445566ff', '["aW50ZXJtZWRpYXRl","cm9vdA=="]');
INSERT INTO bindings VALUES ('binding', 'laptops', x'00', 1, 1700000000000, 0, 0, 'account', 1700000000000, 1);
