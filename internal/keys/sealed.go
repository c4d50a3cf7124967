package keys

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // what openssl req uses, to read other programs' files
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the default of PBKDF2, to read other programs' files
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/scrypt"
)

const (
	saltLength = 16
	// sealRounds takes about 0.2 s and is what OWASP advises for
	// PBKDF2-HMAC-SHA256.
	sealRounds = 600_000
	// maxRounds and maxScrypt (octets of memory) bound what opening a file
	// may cost.
	maxRounds = 10_000_000
	maxScrypt = 1 << 28
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

	oidHMACWithSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidHMACWithSHA384 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}
	oidHMACWithSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}

	oidAES128CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	oid3DESCBC   = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
)

// encryptedPrivateKeyInfo is RFC 5958 §3.
type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2Params is RFC 8018 appendix A.4.
type pbes2Params struct {
	KeyDerivation, Encryption pkix.AlgorithmIdentifier
}

// pbkdf2Params is RFC 8018 appendix A.2. A missing PRF is HMAC with SHA-1.
type pbkdf2Params struct {
	Salt      []byte
	Rounds    int
	KeyLength int                      `asn1:"optional"`
	PRF       pkix.AlgorithmIdentifier `asn1:"optional"`
}

// scryptParams is RFC 7914 §7.1.
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// Seal encodes a key as PEM of type ENCRYPTED PRIVATE KEY (RFC 5958 §3): PBES2
// with PBKDF2-HMAC-SHA256 in 600,000 rounds and AES-256-CBC (RFC 8018). Other
// programs open it, as openssl pkey -in FILE does. The rest of the file is not
// authenticated: whoever can change it can put another key in its place.
func Seal(rand io.Reader, key crypto.Signer, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("couldn't seal the key: the passphrase is empty")
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't seal the key: %w", err)
	}
	defer clear(plain)
	random := make([]byte, saltLength+aes.BlockSize)
	if _, err := io.ReadFull(rand, random); err != nil {
		return nil, fmt.Errorf("couldn't seal the key: %w", err)
	}
	der, err := encrypt(plain, passphrase, random[:saltLength], random[saltLength:])
	if err != nil {
		return nil, fmt.Errorf("couldn't seal the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: der}), nil
}

func encrypt(plain, passphrase, salt, iv []byte) ([]byte, error) {
	derived, err := pbkdf2.Key(sha256.New, string(passphrase), salt, sealRounds, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize // RFC 8018 §6.1.1
	data := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)

	derivation, err := algorithm(oidPBKDF2, pbkdf2Params{
		Salt: salt, Rounds: sealRounds,
		PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACWithSHA256, Parameters: asn1.NullRawValue},
	})
	if err != nil {
		return nil, err
	}
	encryption, err := algorithm(oidAES256CBC, iv)
	if err != nil {
		return nil, err
	}
	scheme, err := algorithm(oidPBES2, pbes2Params{derivation, encryption})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedPrivateKeyInfo{scheme, data})
}

func algorithm(oid asn1.ObjectIdentifier, parameters any) (id pkix.AlgorithmIdentifier, err error) {
	id.Algorithm = oid
	id.Parameters.FullBytes, err = asn1.Marshal(parameters)
	return id, err
}

// sealed is an encrypted key whose parameters are within bounds.
type sealed struct {
	derive    func(passphrase []byte) ([]byte, error) // a key of keyLength octets; the costly part
	keyLength int
	cipher    func(key []byte) (cipher.Block, error)
	iv        []byte // of the cipher's block size
	data      []byte // whole blocks
}

// unseal opens an EncryptedPrivateKeyInfo.
func unseal(der, passphrase []byte) (crypto.Signer, error) {
	box, err := parseSealed(der)
	if err != nil {
		return nil, fmt.Errorf("unsupported form of encryption: %w; convert the key with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW", err)
	}
	if len(passphrase) == 0 {
		return nil, ErrSealed
	}
	plain, err := box.open(passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := signer(x509.ParsePKCS8PrivateKey(plain))
	if err != nil { // the padding of a wrong decryption is right once in 256 times
		return nil, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	return key, nil
}

func parseSealed(der []byte) (*sealed, error) {
	var info encryptedPrivateKeyInfo
	if err := unmarshal(der, &info); err != nil {
		return nil, err
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("the scheme %v is not PBES2", info.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshal(info.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	box := &sealed{data: info.Data}
	if err := box.setEncryption(params.Encryption); err != nil {
		return nil, err
	}
	if len(box.data) == 0 || len(box.data)%len(box.iv) != 0 {
		return nil, fmt.Errorf("%d octets of data are no whole number of blocks", len(box.data))
	}
	return box, box.setDerivation(params.KeyDerivation)
}

func (s *sealed) setEncryption(id pkix.AlgorithmIdentifier) error {
	blockSize := aes.BlockSize
	s.cipher = aes.NewCipher
	switch {
	case id.Algorithm.Equal(oidAES128CBC):
		s.keyLength = 16
	case id.Algorithm.Equal(oidAES192CBC):
		s.keyLength = 24
	case id.Algorithm.Equal(oidAES256CBC):
		s.keyLength = 32
	case id.Algorithm.Equal(oid3DESCBC):
		s.keyLength, s.cipher, blockSize = 24, des.NewTripleDESCipher, des.BlockSize
	default:
		return fmt.Errorf("the cipher %v is neither AES-CBC nor 3DES-CBC", id.Algorithm)
	}
	if err := unmarshal(id.Parameters.FullBytes, &s.iv); err != nil {
		return err
	}
	if len(s.iv) != blockSize {
		return fmt.Errorf("the initialization vector has %d octets instead of %d", len(s.iv), blockSize)
	}
	return nil
}

func (s *sealed) setDerivation(id pkix.AlgorithmIdentifier) error {
	switch {
	case id.Algorithm.Equal(oidPBKDF2):
		return s.setPBKDF2(id.Parameters.FullBytes)
	case id.Algorithm.Equal(oidScrypt):
		return s.setScrypt(id.Parameters.FullBytes)
	default:
		return fmt.Errorf("the key derivation %v is neither PBKDF2 nor scrypt", id.Algorithm)
	}
}

func (s *sealed) setPBKDF2(der []byte) error {
	var params pbkdf2Params
	if err := unmarshal(der, &params); err != nil {
		return err
	}
	if params.Rounds < 1 || params.Rounds > maxRounds {
		return fmt.Errorf("%d rounds of PBKDF2; at most %d are allowed", params.Rounds, maxRounds)
	}
	prf, err := prfHash(params.PRF.Algorithm)
	if err != nil {
		return err
	}
	s.derive = func(passphrase []byte) ([]byte, error) {
		return pbkdf2.Key(prf, string(passphrase), params.Salt, params.Rounds, s.keyLength)
	}
	return s.checkKeyLength(params.KeyLength)
}

func prfHash(oid asn1.ObjectIdentifier) (func() hash.Hash, error) {
	switch {
	case len(oid) == 0, oid.Equal(oidHMACWithSHA1):
		return sha1.New, nil
	case oid.Equal(oidHMACWithSHA256):
		return sha256.New, nil
	case oid.Equal(oidHMACWithSHA384):
		return sha512.New384, nil
	case oid.Equal(oidHMACWithSHA512):
		return sha512.New, nil
	default:
		return nil, fmt.Errorf("the pseudorandom function %v is not HMAC with SHA-1 or SHA-2", oid)
	}
}

func (s *sealed) setScrypt(der []byte) error {
	var params scryptParams
	if err := unmarshal(der, &params); err != nil {
		return err
	}
	if !isAllowedScrypt(params) {
		return fmt.Errorf("the scrypt parameters N=%d, r=%d, p=%d are out of bounds", params.N, params.R, params.P)
	}
	s.derive = func(passphrase []byte) ([]byte, error) {
		return scrypt.Key(passphrase, params.Salt, params.N, params.R, params.P, s.keyLength)
	}
	return s.checkKeyLength(params.KeyLength)
}

// isAllowedScrypt bounds memory, 128·N·r octets, and time by maxScrypt.
func isAllowedScrypt(params scryptParams) bool {
	const limit = maxScrypt / 128
	n, r, p := params.N, params.R, params.P
	return n > 1 && n&(n-1) == 0 && n <= limit && r > 0 && r <= limit/n && p > 0 && p <= 4*limit/n/r
}

// checkKeyLength checks the optional length in the parameters of a derivation.
func (s *sealed) checkKeyLength(length int) error {
	if length != 0 && length != s.keyLength {
		return fmt.Errorf("a derived key of %d octets for a cipher that needs %d", length, s.keyLength)
	}
	return nil
}

// open decrypts the PKCS#8 key inside, or returns ErrPassphrase.
func (s *sealed) open(passphrase []byte) ([]byte, error) {
	derived, err := s.derive(passphrase)
	if err != nil {
		return nil, err
	}
	block, err := s.cipher(derived)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(s.data))
	cipher.NewCBCDecrypter(block, s.iv).CryptBlocks(plain, s.data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > len(s.iv) {
		return nil, ErrPassphrase
	}
	body, padding := plain[:len(plain)-pad], plain[len(plain)-pad:]
	if !bytes.Equal(padding, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, ErrPassphrase
	}
	return body, nil
}

// unmarshal decodes exactly one value.
func unmarshal(der []byte, value any) error {
	rest, err := asn1.Unmarshal(der, value)
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing data")
	}
	return err
}
