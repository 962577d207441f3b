package acmeclient

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A KeyType is a kind of private key that can be generated.
type KeyType string

const (
	EC256   KeyType = "ec256"
	EC384   KeyType = "ec384"
	RSA2048 KeyType = "rsa2048"
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
)

var keyTypes = []KeyType{EC256, EC384, RSA2048, RSA3072, RSA4096}

// ParseKeyType reads one of the key types, in any case.
func ParseKeyType(text string) (KeyType, error) {
	if t := KeyType(strings.ToLower(text)); slices.Contains(keyTypes, t) {
		return t, nil
	}
	known := make([]string, len(keyTypes))
	for i, t := range keyTypes {
		known[i] = string(t)
	}
	return "", fmt.Errorf("key type %q is none of %s", text, strings.Join(known, ", "))
}

// Generate makes a new private key.
func (t KeyType) Generate() (crypto.Signer, error) {
	switch t {
	case EC256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EC384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("unknown key type %q", string(t))
}

// MarshalKey returns a private key in PEM, as PKCS #8 (RFC 5958).
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey returns the first private key in PEM data: PKCS #8, SEC 1 or PKCS #1, not encrypted. Its errors do not quote it.
func ParseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("private key is encrypted, which is not supported")
		}
		parse, ok := keyParsers[block.Type]
		if !ok {
			continue // OpenSSL puts EC PARAMETERS first
		}
		key, err := parse(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("private key (%s): %w", block.Type, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("private key of type %T cannot sign", key)
		}
		return signer, nil
	}
	return nil, errors.New("no private key in PEM form")
}

var keyParsers = map[string]func(der []byte) (any, error){
	"PRIVATE KEY":     x509.ParsePKCS8PrivateKey,
	"EC PRIVATE KEY":  func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	"RSA PRIVATE KEY": func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
}
