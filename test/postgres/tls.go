//go:build unix

package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// ListenTLS restarts the server so that it listens on a port of 127.0.0.1, with a
// certificate, and returns the port. It takes no connection there without TLS.
func (s *Server) ListenTLS(ctx context.Context, certificatePEM, keyPEM []byte) (port string, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.port = strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	if err := free.Close(); err != nil {
		return "", err
	}
	certificate, key := filepath.Join(s.folder, "server.pem"), filepath.Join(s.folder, "server.key")
	hba := filepath.Join(s.folder, "hba.conf")
	err = errors.Join(
		os.WriteFile(certificate, certificatePEM, 0o644),
		os.WriteFile(key, keyPEM, 0o600),
		os.WriteFile(hba, []byte("local all all trust\nhostssl all all 127.0.0.1/32 trust\n"), 0o644))
	if err == nil && s.credential != nil {
		err = os.Chown(key, int(s.credential.Uid), int(s.credential.Gid))
	}
	if err != nil {
		return "", err
	}
	s.Kill()
	s.args = append(s.args, "-c", "listen_addresses=127.0.0.1", "-c", "port="+s.port, "-c", "hba_file="+hba,
		"-c", "ssl=on", "-c", "ssl_cert_file="+certificate, "-c", "ssl_key_file="+key)
	return s.port, s.Restart(ctx)
}
