package listener

import (
	"crypto/tls"
	"net/http"
	"testing"
)

// BenchmarkRequest compares a kept-alive request over mutual TLS with that of a bare http.Server.
func BenchmarkRequest(b *testing.B) {
	h := open(b)
	cert := h.ca.issue(b, "alice", 2)
	ln := listen(b)
	bare := &http.Server{Handler: http.HandlerFunc(echo), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{h.ca.issue(b, "bare", 3)},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: poolOf(h.ca),
	}}
	go bare.ServeTLS(ln, "", "")
	b.Cleanup(func() { bare.Close() })
	for name, url := range map[string]string{"listener": h.url, "bare": "https://" + ln.Addr().String()} {
		b.Run(name, func(b *testing.B) {
			c := h.client(b, clientOptions{cert: &cert, http1: true})
			for b.Loop() {
				mustGet(b, c, url)
			}
		})
	}
}

// BenchmarkHandshake is a connection, a request, and the end.
func BenchmarkHandshake(b *testing.B) {
	h := open(b)
	cert := h.ca.issue(b, "alice", 2)
	c := h.client(b, clientOptions{cert: &cert, http1: true, fresh: true})
	for b.Loop() {
		mustGet(b, c, h.url)
	}
}
