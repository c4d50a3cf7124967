package provisioner

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/keys"
)

// listedKeys are those in the settings of a field.
func (d Deps) listedKeys(name string, settings []string) ([]jose.JSONWebKey, error) {
	var listed []jose.JSONWebKey
	var errs []error
	for i, setting := range settings {
		field := fmt.Sprintf("%s[%d]", name, i)
		data, err := d.read(field, setting)
		if err == nil {
			var found []jose.JSONWebKey
			if found, err = parseKeys(data); err != nil {
				err = mistake(field, "this can't be used: %v", err)
			}
			listed = append(listed, found...)
		}
		errs = append(errs, err)
	}
	return listed, errors.Join(errs...)
}

// parseKeys reads the public keys in a setting: a JWK, a JWK set, or PEM of
// public keys and certificates. All of them must be good; a private one is
// refused, for it has been where it should not be.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("{")) {
		return parseJWKs(data)
	}
	var found []jose.JSONWebKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		public, err := publicKey(block)
		if err == nil {
			err = keys.Check(public)
		}
		if err != nil {
			return nil, err
		}
		found = append(found, jose.JSONWebKey{Key: public})
	}
	if len(found) == 0 {
		return nil, errors.New("there is no key in it; it must be a JWK, a JWK set, or PEM of a public key")
	}
	return nameKeys(found)
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, fmt.Errorf("it holds a %s; a PUBLIC KEY or a CERTIFICATE is needed", block.Type)
}

func parseJWKs(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("it is no JWK: %w", err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{data}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	found := make([]jose.JSONWebKey, len(set.Keys))
	for i, text := range set.Keys {
		var private struct {
			D json.RawMessage `json:"d"`
		}
		if err := json.Unmarshal(text, &private); err == nil && private.D != nil {
			return nil, errors.New("it is a private key; give the public one here, and replace the key if others could read it")
		}
		var err error
		if found[i], err = parseKey(text); err != nil {
			return nil, fmt.Errorf("it is no public key for signatures: %w", err)
		}
	}
	return nameKeys(found)
}

// nameKeys gives keys the name of RFC 7638, by which this CA's clients call
// them, beside their own.
func nameKeys(list []jose.JSONWebKey) ([]jose.JSONWebKey, error) {
	var named []jose.JSONWebKey
	for _, key := range list {
		thumbprint, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("couldn't make the thumbprint of a key: %w", err)
		}
		own := key.KeyID
		key.KeyID = encode(thumbprint)
		named = append(named, key)
		if own != "" && own != key.KeyID {
			key.KeyID = own
			named = append(named, key)
		}
	}
	return named, nil
}
