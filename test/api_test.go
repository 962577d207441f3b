package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// account is what a client of the API keeps.
type account struct {
	Username, Password, Subdomain, Fulldomain string
}

// reply is what the API answered.
type reply struct {
	status int
	body   string
}

func (r reply) error(want int) error {
	if r.status != want {
		return fmt.Errorf("%d %s, want %d", r.status, r.body, want)
	}
	return nil
}

func call(ctx context.Context, client *http.Client, method, url string, a account, body string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if a.Username != "" {
		request.Header.Set("X-Api-User", a.Username)
		request.Header.Set("X-Api-Key", a.Password)
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return reply{response.StatusCode, string(text)}, err
}

func registerAccount(ctx context.Context, client *http.Client, api string) (account, error) {
	var a account
	r, err := call(ctx, client, http.MethodPost, api+"/register", a, "")
	if err != nil {
		return a, err
	}
	if err := r.error(http.StatusCreated); err != nil {
		return a, err
	}
	return a, json.Unmarshal([]byte(r.body), &a)
}

func update(ctx context.Context, client *http.Client, api string, a account, value string) (reply, error) {
	body := fmt.Sprintf(`{"subdomain":%q,"txt":%q}`, a.Subdomain, value)
	return call(ctx, client, http.MethodPost, api+"/update", a, body)
}

// value number n: 43 characters of base64url.
func value(n int) string { return fmt.Sprintf("value-%037d", n) }
