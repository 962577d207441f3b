package acmeclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cnamed/test/ca"
)

func TestAccountIsFoundByItsKey(t *testing.T) {
	t.Parallel()
	authority := startCA(t, ca.Options{})
	c := newClient(t, authority)
	if _, err := c.Lookup(testContext(t)); !errors.Is(err, ErrNoAccount) {
		t.Errorf("Lookup before Register: %v, want ErrNoAccount", err)
	}
	made, err := c.Register(testContext(t), AccountRequest{Contact: []string{"mailto:hostmaster@example.com"}, TermsAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	other := newClient(t, authority)
	other.Key = c.Key
	found, err := other.Lookup(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if found.URL != made.URL || found.Status != StatusValid || len(found.Contact) != 1 {
		t.Errorf("found %+v, made %+v", found, made)
	}
	again, err := other.Register(testContext(t), AccountRequest{TermsAgreed: true})
	if err != nil || again.URL != made.URL {
		t.Errorf("a second Register: %+v, %v", again, err)
	}
}

func TestOrderWithoutAccountSaysSo(t *testing.T) {
	t.Parallel()
	c := newClient(t, startCA(t, ca.Options{}))
	if _, err := c.NewOrder(testContext(t), OrderRequest{Names: []string{"example.com"}}); !errors.Is(err, ErrNoAccount) {
		t.Errorf("error %v, want ErrNoAccount", err)
	}
}

func TestTermsNotAgreed(t *testing.T) {
	t.Parallel()
	c := newClient(t, startCA(t, ca.Options{}))
	_, err := c.Register(testContext(t), AccountRequest{})
	var p *Problem
	if !errors.As(err, &p) || p.Type != ProblemUserActionRequired || p.TermsOfService == "" {
		t.Fatalf("error %#v", err)
	}
	if hint := p.Hint(); !strings.Contains(hint, p.TermsOfService) {
		t.Errorf("hint %q lacks the terms", hint)
	}
}

func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	mac := strings.Repeat("\xfb\xef\xbe", 11) // its base64 has both of the characters that differ between the alphabets
	urlSafe := base64.RawURLEncoding.EncodeToString([]byte(mac))
	authority := startCA(t, ca.Options{EABKeys: map[string]string{"customer-1": urlSafe}})
	register := func(keyID, key string) error {
		t.Helper()
		req := AccountRequest{TermsAgreed: true}
		if keyID != "" {
			var err error
			if req.EAB, err = NewEAB(keyID, key); err != nil {
				t.Fatal(err)
			}
		}
		_, err := newClient(t, authority).Register(testContext(t), req)
		return err
	}
	if err := register("customer-1", urlSafe); err != nil {
		t.Errorf("the right key: %v", err)
	}
	if err := register("customer-1", " "+base64.StdEncoding.EncodeToString([]byte(mac))+"\n"); err != nil {
		t.Errorf("the right key, padded and in the other alphabet: %v", err)
	}
	if err := register("customer-1", base64.StdEncoding.EncodeToString(make([]byte, 32))); err == nil {
		t.Error("the wrong key was accepted")
	}
	if err := register("customer-2", urlSafe); err == nil {
		t.Error("the wrong identifier was accepted")
	}
	if err := register("", ""); !IsProblem(err, ProblemExternalAccountRequired) {
		t.Errorf("no key: %v", err)
	}
}

func TestEABHidesItsSecret(t *testing.T) {
	t.Parallel()
	secret := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	eab, err := NewEAB("customer-1", secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{eab, *eab} {
			if text := fmt.Sprintf(form, value); strings.Contains(text, "0123") || strings.Contains(text, "48 49") || strings.Contains(text, "0x30") {
				t.Errorf("%s prints the secret: %s", form, text)
			}
		}
	}
	for _, bad := range []string{"", "short", "!!!", secret[:20]} {
		if _, err := NewEAB("customer-1", bad); err == nil || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("NewEAB(%q): %v", bad, err)
		}
	}
}
