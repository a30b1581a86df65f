package ca_test

import (
	"encoding/pem"
	"testing"

	"omca/ca"
)

// BenchmarkSign is the whole issuing walk over a store in memory.
func BenchmarkSign(b *testing.B) {
	w := bootstrapped(b)
	request := csr(b, "node1.example.com", "192.0.2.7")
	root := caller(b, "root", "root")
	b.ReportAllocs()
	for b.Loop() {
		issued, err := w.Sign(b.Context(), root, ca.SignRequest{CSR: request, Profile: ca.ProfileListener})
		if err != nil {
			b.Fatal(err)
		}
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate.Raw})
	}
}
