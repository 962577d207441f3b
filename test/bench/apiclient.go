//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// account is what a client of the API keeps.
type account struct {
	Username, Password, Subdomain string
}

// apiClient is one client of the API with a connection that it keeps. It does
// just what a request needs: the client of net/http takes as much of the machine
// as the server that is to be measured. It is for one goroutine.
type apiClient struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
	reply   []byte
}

// dialAPI connects to the API at a base URL, without TLS.
func dialAPI(url string) (*apiClient, error) {
	address, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return nil, fmt.Errorf("%s is not an http URL", url)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &apiClient{conn: conn, reader: bufio.NewReader(conn)}, nil
}

func (c *apiClient) close() { c.conn.Close() }

// register makes an account. The reply is good until the next call.
func (c *apiClient) register() (reply []byte, err error) {
	return c.post("/register", account{}, "", "")
}

// update sets a value of an account.
func (c *apiClient) update(a account, value string) error {
	_, err := c.post("/update", a, `{"subdomain":"`+a.Subdomain+`","txt":"`, value+`"}`)
	return err
}

// post sends a request whose body comes in two pieces, and returns the body of
// the reply, which is good until the next call. All but a 2xx is an error.
func (c *apiClient) post(path string, a account, body, rest string) ([]byte, error) {
	r := append(c.request[:0], "POST "...)
	r = append(append(r, path...), " HTTP/1.1\r\nHost: bench\r\n"...)
	if a.Username != "" {
		r = append(append(r, "X-Api-User: "...), a.Username...)
		r = append(append(append(r, "\r\nX-Api-Key: "...), a.Password...), "\r\n"...)
	}
	r = append(r, "Content-Type: application/json\r\nContent-Length: "...)
	r = strconv.AppendInt(r, int64(len(body)+len(rest)), 10)
	c.request = append(append(append(r, "\r\n\r\n"...), body...), rest...)
	if _, err := c.conn.Write(c.request); err != nil {
		return nil, err
	}
	return c.receive()
}

// receive takes one reply (RFC 9112 §4, §6.2: one with a length).
func (c *apiClient) receive() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	_, status, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	code, length := string(status), -1
	for {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return nil, err
		}
		field, value, found := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if !found {
			break
		}
		if bytes.EqualFold(field, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, errors.New("the reply has no Content-Length")
	}
	c.reply = append(c.reply[:0], make([]byte, length)...)
	for read := 0; read < length; {
		n, err := c.reader.Read(c.reply[read:])
		if err != nil {
			return nil, err
		}
		read += n
	}
	if !strings.HasPrefix(code, "2") {
		return nil, fmt.Errorf("%s: %s", code, bytes.TrimSpace(c.reply))
	}
	return c.reply, nil
}
