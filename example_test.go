package omca_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"omca"
)

// An HTTPS server whose certificate renews itself, in a program of its own.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "omca")
	defer os.RemoveAll(dir)

	authority, err := omca.Open(ctx, omca.Config{Home: filepath.Join(dir, "home"), ClusterName: "demo"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer authority.Close()
	tlsConfig, err := authority.TLSConfig(ctx, "ns1/sec/web", "localhost", "127.0.0.1")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Addr: "127.0.0.1:8443", Handler: http.NotFoundHandler(), TLSConfig: tlsConfig}
	defer server.Close()
	// server.ListenAndServeTLS("", "") serves it.
	pair, _ := server.TLSConfig.GetCertificate(nil)
	fmt.Println(pair.Leaf.Subject, "signed by", pair.Leaf.Issuer)
	// Output: CN=localhost signed by CN=demo CA
}
