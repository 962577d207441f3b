package program

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort returns a port of 127.0.0.1 that was free a moment ago, for UDP and
// TCP, for a program that cannot be told to choose one. It is below those that
// the kernel gives to clients, of which tests have many.
func FreePort() (int, error) {
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		packets, err := net.ListenPacket("udp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			err = listener.Close()
		}
		if err = errors.Join(err, packets.Close()); err == nil {
			return port, nil
		}
	}
	return 0, errors.New("no port is free on 127.0.0.1")
}
