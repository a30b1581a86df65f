package omca_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca"
	"omca/internal/interop/lab"
	"omca/pki"
)

// greet makes a handshake and returns what was presented.
func (r *running) greet(t *testing.T) tls.ConnectionState {
	t.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState()
}

// stapled makes handshakes until the answer that is stapled has the status, at
// most for some seconds.
func (r *running) stapled(t *testing.T, status int) *ocsp.Response {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		state := r.greet(t)
		leaf := state.PeerCertificates[0]
		answer, err := ocsp.ParseResponseForCert(state.OCSPResponse, leaf, state.VerifiedChains[0][1])
		switch {
		case err == nil && answer.Status == status:
			return answer
		case time.Now().After(deadline):
			t.Fatalf("the staple is %+v, %v, want status %d", answer, err, status)
		}
	}
}

// requireProgram skips the test without a program, unless it must be there.
func requireProgram(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), program) {
		t.Fatalf("%s is required, and is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// The first handshake has a staple already; it follows the certificate, and
// what happens to it.
func TestStaple(t *testing.T) {
	r := runServer(t, omca.Config{})
	first := r.greet(t)
	answer, err := ocsp.ParseResponseForCert(first.OCSPResponse, first.PeerCertificates[0], first.VerifiedChains[0][1])
	if err != nil || answer.Status != ocsp.Good {
		t.Fatalf("the first handshake: %+v, %v", answer, err)
	}
	local(t, r.Server, "POST", "/api/object/path/system/sec/cert/certificate/renew", nil)
	second := r.stapled(t, ocsp.Good)
	if second.SerialNumber.Cmp(answer.SerialNumber) == 0 {
		t.Error("the staple is about the certificate before")
	}
	local(t, r.Server, "POST", "/api/certificate/"+string(pki.SerialOf(r.greet(t).PeerCertificates[0]))+"/revoke", map[string]string{"reason": "superseded"})
	if got := r.stapled(t, ocsp.Revoked); got.RevocationReason != ocsp.Superseded {
		t.Errorf("reason %d", got.RevocationReason)
	}
}

// A server of a program that embeds the authority staples as well, from its
// first handshake on, and for as long as nobody touches it.
func TestStapleEmbedded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := omca.Open(t.Context(), omca.Config{Home: filepath.Join(t.TempDir(), "home"), NodeName: "node1"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		config, err := s.TLSConfig(t.Context(), "ns1/sec/web", "web.example.com")
		if err != nil {
			t.Fatal(err)
		}
		var last time.Time
		for range 12 {
			pair, err := config.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := ocsp.ParseResponse(pair.OCSPStaple, nil)
			switch {
			case err != nil:
				t.Fatalf("after %s: %v", last, err)
			case answer.Status != ocsp.Good || answer.SerialNumber.Cmp(pair.Leaf.SerialNumber) != 0 || !answer.NextUpdate.After(time.Now()):
				t.Errorf("%+v", answer)
			case answer.ThisUpdate.Before(last):
				t.Errorf("of %s, after one of %s", answer.ThisUpdate, last)
			}
			last = answer.ThisUpdate
			time.Sleep(40 * time.Minute)
			synctest.Wait()
		}
		pair, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		local(t, s, "POST", "/api/certificate/"+string(pki.SerialOf(pair.Leaf))+"/revoke", map[string]string{})
		synctest.Wait()
		if pair, err = config.GetCertificate(nil); err != nil {
			t.Fatal(err)
		}
		if answer, err := ocsp.ParseResponse(pair.OCSPStaple, nil); err != nil || answer.Status != ocsp.Revoked {
			t.Errorf("after the revocation: %+v, %v", answer, err)
		}
	})
}

// A listener's certificate that is not ours has no staple, and serves.
func TestNoStapleForAnotherCA(t *testing.T) {
	r, other := runServer(t, omca.Config{}), open(t, omca.Config{Home: filepath.Join(t.TempDir(), "home")})
	defer other.Close()
	for _, name := range []string{"private_key", "certificate_chain"} {
		path := "/api/object/path/system/sec/cert/data/key?name=" + name
		put(t, r.Server, path, local(t, other, "GET", path, nil))
	}
	r.pool = pool(t, other)
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if staple := conn.ConnectionState().OCSPResponse; staple != nil {
		t.Errorf("a staple of %d octets", len(staple))
	}
}

// put stores a value as an octet stream.
func put(t *testing.T, s *omca.Server, path string, value []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://omca"+path, bytes.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	answer, err := s.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		t.Fatalf("PUT %s: %s", path, answer.Status)
	}
}

// TestOCSPStrangers has openssl read the staple, and ask over plain HTTP.
func TestOCSPStrangers(t *testing.T) {
	requireProgram(t, "openssl")
	r, dir := runServer(t, omca.Config{}), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), local(t, r.Server, "GET", "/ca.pem", nil), 0o600); err != nil {
		t.Fatal(err)
	}
	leaf := r.greet(t).PeerCertificates[0]
	if err := os.WriteFile(filepath.Join(dir, "leaf.pem"), pki.EncodeCertificates(leaf), 0o600); err != nil {
		t.Fatal(err)
	}
	openssl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	out := openssl("s_client", "-connect", r.address, "-servername", "localhost", "-CAfile", "ca.pem", "-verify_return_error", "-status")
	for _, want := range []string{"OCSP Response Status: successful", "Cert Status: good", "Verify return code: 0 (ok)"} {
		if !strings.Contains(out, want) {
			t.Errorf("s_client: %q is missing in %s", want, out)
		}
	}
	address := "127.0.0.1:" + lab.FreePort(t)
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.http_addr="+address, nil)
	awaitPort(t, address)
	check := []string{"ocsp", "-url", "http://" + address + "/ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-cert", "leaf.pem"}
	if out = openssl(check...); !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "leaf.pem: good") {
		t.Errorf("ocsp: %s", out)
	}
	local(t, r.Server, "POST", "/api/certificate/"+string(pki.SerialOf(leaf))+"/revoke", map[string]string{})
	if out = openssl(check...); !strings.Contains(out, "leaf.pem: revoked") {
		t.Errorf("ocsp after the revocation: %s", out)
	}
	page := string(local(t, r.Server, "GET", "/metrics", nil))
	for _, line := range []string{`omca_ocsp_answers_total{status="good"} 1`, `omca_ocsp_answers_total{status="revoked"} 1`, `omca_ocsp_answers_total{status="refused"} 0`} {
		if !strings.Contains(page, line) {
			t.Errorf("the metrics have no line %s", line)
		}
	}
}

// awaitPort waits until somebody listens, at most for some seconds.
func awaitPort(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
