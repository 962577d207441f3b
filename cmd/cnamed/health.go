package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	var server string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it is healthy",
		Long: `Asks the API's /health and exits 0 where the server can take updates, else 1.
Made for the health check of a container and for monitoring. The certificate of
the API is not checked: a container asks itself by its own loopback address.`,
		Example: "  cnamed health --server https://127.0.0.1",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return checkHealth(ctx, server)
		},
	}
	cmd.Flags().StringVar(&server, "server", "https://127.0.0.1", "URL of the API")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	return cmd
}

func checkHealth(ctx context.Context, server string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/health", nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", userAgent())
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// No secret is sent and nothing is believed but a status.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	response, err := client.Do(request)
	if err != nil {
		return withHint(fmt.Errorf("the API does not answer: %w", err), "is the server running, and is --server its address?")
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return withHint(fmt.Errorf("the server is not healthy: %s", response.Status), "its log says why")
	}
	return nil
}
