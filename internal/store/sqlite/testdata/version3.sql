INSERT INTO orders VALUES ('order', 'account', 'tls-server', 0, 0, '', x'', 1700000000000, 1700003600000, 1700000001000, '', x'', '[{"type":"dns","value":"a.example"}]', '["authz1"]', '');
INSERT INTO authorizations VALUES ('authz1', 'account', 'order', 'dns', 'a.example', 0, 'token1', '["http-01"]', 'valid', 1700000000000, 1700003600000,
    'http-01', 'thumbprint', 1700000000500, 0, 0, '', '', 'binding', 1);
INSERT INTO intents VALUES (x'0196000000000000000000000000000000000001', '00112233445566ff', 'order', 'order', 1, 1700000000000, 1700000060000, CAST('tbs' AS BLOB), CAST('request' AS BLOB));
-- One that is good, one that was revoked, one that was abandoned, and one that was revoked and has expired.
INSERT INTO certificates VALUES (x'0196000000000000000000000000000000000002', '00112233445566ff', '', '', 'account', 'acme:account', 'tls-server', 'default',
    x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1700000000000, 1900000000000, 1700000002000, 0, 0, 0,
    '[{"type":"dns","value":"b.example"}]', x'3000');
INSERT INTO certificates VALUES (x'0196000000000000000000000000000000000003', '00112233445566ff', '', '', 'account', 'acme:account', 'tls-server', 'default',
    x'100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1700000000000, 1900000000000, 1700000002000, 0, 1700000003000, 1,
    '[{"type":"dns","value":"b.example"},{"type":"ip","value":"10.0.0.1"}]', x'3000');
INSERT INTO certificates VALUES (x'0196000000000000000000000000000000000004', '00112233445566ff', 'order', 'other', 'account', '', 'tls-server', '',
    x'200102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1700000000000, 1900000000000, 1700000002000, 1, 1700000004000, 5,
    '[{"type":"dns","value":"b.example"}]', x'3000');
INSERT INTO certificates VALUES (x'0196000000000000000000000000000000000005', '00112233445566ff', '', '', '', 'self', 'tls-server', 'default',
    x'300102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 1600000000000, 1600003600000, 1600000000000, 0, 1600000001000, 4, '', x'3000');
INSERT INTO certificate_names VALUES ('b.example', x'0196000000000000000000000000000000000002', '00112233445566ff');
INSERT INTO certificate_names VALUES ('b.example', x'0196000000000000000000000000000000000003', '00112233445566ff');
INSERT INTO certificate_names VALUES ('10.0.0.1', x'0196000000000000000000000000000000000003', '00112233445566ff');
INSERT INTO certificate_names VALUES ('b.example', x'0196000000000000000000000000000000000004', '00112233445566ff');
INSERT INTO issuers VALUES ('00112233445566ff', x'00112233445566ff', '["aW50ZXJtZWRpYXRl","cm9vdA=="]', '[["Y3Jvc3M="]]');
INSERT INTO bindings VALUES ('binding', 'laptops', x'00', 0, 1700000000000, 0, 0, 'account', 1700000000000, 1, '{"allow":["*.a.example"]}');
