package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ErrSealed is wrapped by the error for a key that needs a passphrase when
// none was given.
var ErrSealed = errors.New("the key is sealed with a passphrase")

// ErrPassphrase is wrapped by the error for a passphrase that does not open
// the key.
var ErrPassphrase = errors.New("the passphrase is wrong, or the key is damaged")

// Labels of PEM blocks (RFC 7468 §10, §11 and §13, and OpenSSL's older ones).
const (
	pemPKCS8  = "PRIVATE KEY"
	pemSealed = "ENCRYPTED PRIVATE KEY"
	pemSEC1   = "EC PRIVATE KEY"
	pemPKCS1  = "RSA PRIVATE KEY"
)

// Marshal encodes a key as PKCS#8 PEM (RFC 5958).
func Marshal(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der}), nil
}

// Parse reads the first private key in PEM text, which may hold other blocks
// too: PKCS#8, SEC 1 or PKCS#1; or sealed: PKCS#8 with PBES2 (PBKDF2 or
// scrypt, AES-CBC or 3DES-CBC), and SEC 1 or PKCS#1 with OpenSSL's older PEM
// encryption.
// An empty passphrase stands for none; a key that is not sealed needs none and
// ignores it. Errors wrap ErrSealed and ErrPassphrase where those apply. Parse
// does not judge the key; see Check.
func Parse(data, passphrase []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("there is no private key in PEM form in it")
		}
		if strings.HasSuffix(block.Type, pemPKCS8) {
			return parseBlock(block, passphrase)
		}
		data = rest
	}
}

func parseBlock(block *pem.Block, passphrase []byte) (crypto.Signer, error) {
	if x509.IsEncryptedPEMBlock(block) { //nolint:staticcheck // only to read what older programs wrote
		return parseLegacy(block, passphrase)
	}
	switch block.Type {
	case pemPKCS8:
		return signer(x509.ParsePKCS8PrivateKey(block.Bytes))
	case pemSEC1:
		return signer(x509.ParseECPrivateKey(block.Bytes))
	case pemPKCS1:
		return signer(x509.ParsePKCS1PrivateKey(block.Bytes))
	case pemSealed:
		return unseal(block.Bytes, passphrase)
	default:
		return nil, fmt.Errorf("unsupported form of key %.40q; convert it with: openssl pkey -in FILE -out NEW", block.Type)
	}
}

// parseLegacy reads a block with a DEK-Info header (RFC 1421 §4.6.1.3), whose
// key derivation is one round of MD5. Other private CAs write those.
func parseLegacy(block *pem.Block, passphrase []byte) (crypto.Signer, error) {
	if len(passphrase) == 0 {
		return nil, ErrSealed
	}
	der, err := x509.DecryptPEMBlock(block, passphrase) //nolint:staticcheck // only to read what older programs wrote
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, err
	}
	key, err := parseBlock(&pem.Block{Type: block.Type, Bytes: der}, nil)
	if err != nil { // the padding of a wrong decryption is right once in 256 times
		return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	return key, nil
}

// signer narrows what x509's parsers return to keys that sign. It takes their
// error along, so that it can be wrapped around a call.
func signer[K any](key K, err error) (crypto.Signer, error) {
	if err != nil {
		return nil, err
	}
	switch key := any(key).(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	default:
		return nil, fmt.Errorf("the key is of a type that cannot sign (%T)", key)
	}
}
