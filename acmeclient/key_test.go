package acmeclient

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func TestKeysSurviveTheirFile(t *testing.T) {
	t.Parallel()
	for _, kind := range []KeyType{EC256, EC384, RSA2048} {
		key := newKey(t, kind)
		data, err := MarshalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseKey(data)
		if err != nil || !samePublicKey(parsed.Public(), key.Public()) {
			t.Errorf("%s: parsed %T, %v", kind, parsed, err)
		}
	}
}

func TestOlderKeyFormsAreRead(t *testing.T) {
	t.Parallel()
	ec, rsaKey := newKey(t, EC256).(*ecdsa.PrivateKey), newKey(t, RSA2048).(*rsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, data := range map[string]string{
		"SEC 1":                 block("EC PRIVATE KEY", sec1),
		"SEC 1 with parameters": block("EC PARAMETERS", []byte{6, 0}) + block("EC PRIVATE KEY", sec1),
		"PKCS #1":               block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)),
	} {
		key, err := ParseKey([]byte(data))
		if err != nil || !(samePublicKey(key.Public(), ec.Public()) || samePublicKey(key.Public(), rsaKey.Public())) {
			t.Errorf("%s: %T, %v", name, key, err)
		}
	}
	for data, want := range map[string]string{
		"":                                   "no private key",
		"garbage":                            "no private key",
		block("CERTIFICATE", sec1):           "no private key",
		block("PRIVATE KEY", sec1):           "private key (PRIVATE KEY)",
		block("ENCRYPTED PRIVATE KEY", sec1): "encrypted",
	} {
		if _, err := ParseKey([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestKeyTypesParse(t *testing.T) {
	t.Parallel()
	for _, kind := range keyTypes {
		if got, err := ParseKeyType(strings.ToUpper(string(kind))); err != nil || got != kind {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
	if _, err := ParseKeyType("rsa1024"); err == nil || !strings.Contains(err.Error(), "ec256, ec384, rsa2048, rsa3072, rsa4096") {
		t.Errorf("rsa1024: %v", err)
	}
	if _, err := KeyType("dsa").Generate(); err == nil {
		t.Error("dsa was generated")
	}
}
