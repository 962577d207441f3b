package acmeclient

import (
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestSignedRequestHasTheHeadersOfACME(t *testing.T) {
	t.Parallel()
	const url, nonce = "https://ca.example/order", "abc"
	for kind, alg := range map[KeyType]jose.SignatureAlgorithm{EC256: jose.ES256, EC384: jose.ES384, RSA2048: jose.RS256} {
		for _, kid := range []string{"", "https://ca.example/account/1"} {
			c := &Client{Key: newKey(t, kind)}
			data, err := c.sign(kid, url, nonce, []byte{})
			if err != nil {
				t.Fatal(err)
			}
			var flat map[string]string
			if err := json.Unmarshal(data, &flat); err != nil || len(flat) != 3 {
				t.Errorf("%s: not the flattened form: %s", kind, data)
			}
			if payload, ok := flat["payload"]; !ok || payload != "" {
				t.Errorf("%s: POST-as-GET with payload %q, %v", kind, payload, ok)
			}
			jws, err := jose.ParseSignedJSON(string(data), []jose.SignatureAlgorithm{alg})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if _, err := jws.Verify(c.Key.Public()); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			header := jws.Signatures[0].Protected
			if header.Nonce != nonce || header.ExtraHeaders["url"] != url || header.KeyID != kid || (header.JSONWebKey != nil) != (kid == "") {
				t.Errorf("%s: protected header %+v", kind, header)
			}
		}
	}
}

// The key and the thumbprint of RFC 7638 §3.1, and a value computed from it by hand.
func TestDNS01Value(t *testing.T) {
	t.Parallel()
	const document = `{"kty": "RSA", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}`
	var jwk jose.JSONWebKey
	if err := json.Unmarshal([]byte(document), &jwk); err != nil {
		t.Fatal(err)
	}
	c := &Client{Key: publicOnly{jwk.Key}}
	thumbprint, err := c.thumbprint()
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || thumbprint != want {
		t.Errorf("thumbprint %q, %v, want %q", thumbprint, err, want)
	}
	value, err := c.DNS01Value("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA")
	if want := "ZTRx1Ckl1-tM05o5zaizTTA0yUy5AGereMgSNWC6Ll8"; err != nil || value != want {
		t.Errorf("value %q, %v, want %q", value, err, want)
	}
	if _, err := c.DNS01Value(""); err == nil {
		t.Error("an empty token was accepted")
	}
}

// publicOnly is a key that cannot sign.
type publicOnly struct{ crypto.PublicKey }

func (k publicOnly) Public() crypto.PublicKey { return k.PublicKey }

func (publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}
