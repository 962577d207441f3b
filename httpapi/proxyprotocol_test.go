package httpapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/iotest"
)

// proxyHeader writes a header of the PROXY protocol.
func proxyHeader(versionCommand, family byte, rest []byte) []byte {
	h := append(bytes.Clone(proxySignature), versionCommand, family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(rest)))
	return append(h, rest...)
}

// proxyAddrs are the addresses of a header: source, destination, their ports.
func proxyAddrs(source string, more ...byte) []byte {
	ap := netip.MustParseAddrPort(source)
	b := append(ap.Addr().AsSlice(), ap.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, ap.Port())
	return append(append(b, 1, 187), more...)
}

func TestProxyHeaderForms(t *testing.T) {
	t.Parallel()
	v4, v6 := proxyAddrs("192.0.2.5:4711"), proxyAddrs("[2001:db8::5]:4711")
	for name, test := range map[string]struct {
		header []byte
		want   string
		err    error
	}{
		"TCP over IPv4":      {proxyHeader(0x21, 0x11, v4), "192.0.2.5:4711", nil},
		"TCP over IPv6":      {proxyHeader(0x21, 0x21, v6), "[2001:db8::5]:4711", nil},
		"mapped":             {proxyHeader(0x21, 0x21, proxyAddrs("[::ffff:192.0.2.5]:4711")), "192.0.2.5:4711", nil},
		"with TLVs":          {proxyHeader(0x21, 0x11, proxyAddrs("192.0.2.5:4711", 0x04, 0, 1, 0)), "192.0.2.5:4711", nil},
		"LOCAL":              {proxyHeader(0x20, 0x00, nil), "", nil},
		"LOCAL with address": {proxyHeader(0x20, 0x11, v4), "", nil},
		"unspecified":        {proxyHeader(0x21, 0x00, v4), "", nil},
		"Unix socket":        {proxyHeader(0x21, 0x31, make([]byte, 216)), "", nil},
		"UDP":                {proxyHeader(0x21, 0x12, v4), "", errProxyHeader},
		"short addresses":    {proxyHeader(0x21, 0x11, v4[:11]), "", errProxyHeader},
		"IPv4 as IPv6":       {proxyHeader(0x21, 0x21, v4), "", errProxyHeader},
		"version 3":          {proxyHeader(0x31, 0x11, v4), "", errProxyHeader},
		"unknown command":    {proxyHeader(0x22, 0x11, v4), "", errProxyHeader},
		"largest":            {proxyHeader(0x21, 0x11, append(v4, make([]byte, proxyMaximum-12)...)), "192.0.2.5:4711", nil},
		"too large":          {proxyHeader(0x21, 0x11, make([]byte, proxyMaximum+1)), "", errProxyHeader},
		"cut in the middle":  {proxyHeader(0x21, 0x11, v4)[:20], "", errProxyHeader},
		"cut in the start":   {proxySignature[:5], "", errProxyHeader},
		"version 1":          {[]byte("PROXY TCP4 192.0.2.5 192.0.2.6 4711 443\r\n"), "", errProxyVersion1},
		"HTTP":               {[]byte("POST /update HTTP/1.1\r\n\r\n"), "", errNoProxyHeader},
		"TLS":                {[]byte{0x16, 0x03, 0x01}, "", errNoProxyHeader},
		"version 1, cut":     {[]byte("PRO"), "", errProxyHeader},
		"nothing":            {nil, "", io.EOF},
	} {
		body := []byte("what follows is not the header's")
		input := test.header
		if test.err == nil {
			input = append(bytes.Clone(test.header), body...)
		}
		for _, r := range []io.Reader{bytes.NewReader(input), iotest.OneByteReader(bytes.NewReader(input))} {
			got, err := readProxyHeader(r)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || (got.IsValid() && got.String() != test.want) ||
				got.IsValid() != (test.want != "") {
				t.Errorf("%s: %v, %v; want %q, %v", name, got, err, test.want, test.err)
			}
			if rest, _ := io.ReadAll(r); test.err == nil && !bytes.Equal(rest, body) {
				t.Errorf("%s: left %q", name, rest)
			}
		}
	}
}

// FuzzProxyHeader: a header that is taken has version 2, ends where it says, and
// nothing after it is touched; one that is not leaves no address.
func FuzzProxyHeader(f *testing.F) {
	f.Add(proxyHeader(0x21, 0x11, proxyAddrs("192.0.2.5:4711")))
	f.Add(proxyHeader(0x21, 0x21, proxyAddrs("[2001:db8::5]:4711", 1, 2, 3)))
	f.Add(proxyHeader(0x20, 0x00, nil))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		r := bytes.NewReader(input)
		got, err := readProxyHeader(r)
		if err != nil {
			if got.IsValid() {
				t.Errorf("%v with the error %v", got, err)
			}
			return
		}
		read := len(input) - r.Len()
		if !bytes.HasPrefix(input, proxySignature) || input[12]>>4 != 2 || read != proxyFixed+int(binary.BigEndian.Uint16(input[14:])) {
			t.Errorf("read %d bytes of %q", read, input)
		}
		if got.IsValid() && input[12] != 0x21 {
			t.Errorf("%v by the command %#x", got, input[12])
		}
	})
}
