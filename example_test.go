package omca_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"os"

	"omca"
)

// An HTTPS server of the program's own. Its certificate is signed by the
// cluster's CA, renews itself and is swapped without a restart.
func Example() {
	ctx := context.Background()
	home, err := os.MkdirTemp("", "omca")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)

	authority, err := omca.Open(ctx, omca.Config{Home: home, ClusterName: "demo"})
	if err != nil {
		log.Fatal(err)
	}
	defer authority.Close()
	config, err := authority.TLSConfig(ctx, "system/sec/web", "localhost")
	if err != nil {
		log.Fatal(err)
	}
	socket, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(socket, http.NotFoundHandler())

	conn, err := tls.Dial("tcp", socket.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // it only looks at what is presented
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	fmt.Println(leaf.Subject, "signed by", leaf.Issuer)
	// Output: CN=localhost signed by CN=demo CA
}
