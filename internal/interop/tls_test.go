package interop_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"omca/internal/interop/lab"
)

// TestClients connects what people connect with, each of them verifying the
// server as it does by itself.
func TestClients(t *testing.T) {
	lab.Require(t, "openssl", "curl")
	d := lab.NewHome(t).Start(t)
	pair := d.User(t, "alice", "guest:ns1")
	cert, key, ca := d.Files(t, "system/usr/alice")
	url := strings.Replace(d.URL(""), "127.0.0.1", "localhost", 1)
	curl := func(args ...string) lab.Result {
		return lab.TryTool(t, "curl", append([]string{"-sS", "--max-time", "20", "--cacert", ca, "-w", " %{http_version} %{http_code}"}, args...)...)
	}

	t.Run("s_client", func(t *testing.T) {
		out := sClient(t, d, "-CAfile", ca, "-verify_return_error", "-verify_hostname", "localhost", "-alpn", "h2,http/1.1")
		for _, want := range []string{"Verify return code: 0 (ok)", "ALPN protocol: h2", "TLSv1.3", "Verification: OK"} {
			if !strings.Contains(out.Stdout, want) {
				t.Errorf("no %q in\n%s", want, out.Stdout)
			}
		}
		// What is sent is the chain without its self-signed root.
		if n := strings.Count(out.Stdout, " s:"); n != 1 {
			t.Errorf("%d certificates were sent, expected the leaf alone\n%s", n, out.Stdout)
		}
		if r := sClient(t, d, "-CAfile", ca, "-verify_return_error", "-verify_hostname", "other.example.com"); r.Status == 0 {
			t.Error("OpenSSL takes it for other.example.com")
		}
	})
	for flag, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
		t.Run("curl "+flag, func(t *testing.T) {
			for _, at := range []string{url, d.URL("")} { // by name and by address
				if r := curl(flag, at+"/healthz"); r.Status != 0 || !strings.HasSuffix(r.Stdout, " "+version+" 200") {
					t.Errorf("%s without a certificate: %+v", at, r)
				}
			}
			if r := curl(flag, url+"/whoami"); !strings.HasSuffix(r.Stdout, " "+version+" 401") || strings.Contains(r.Stdout, "alice") {
				t.Errorf("who is nobody: %+v", r)
			}
			if r := curl(flag, "--cert", cert, "--key", key, url+"/whoami"); !strings.HasSuffix(r.Stdout, " "+version+" 200") || !strings.Contains(r.Stdout, `"name":"alice"`) {
				t.Errorf("with alice's certificate: %+v", r)
			}
		})
	}
	t.Run("curl without our CA", func(t *testing.T) {
		const notVerified = 60 // curl(1)
		if r := lab.TryTool(t, "curl", "-sS", "--max-time", "20", url+"/healthz"); r.Status != notVerified {
			t.Errorf("exit status %d, expected %d: %s", r.Status, notVerified, r.Stderr)
		}
	})
	for major, protocol := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		t.Run("go "+protocol, func(t *testing.T) {
			client := d.HTTP(t, pair)
			transport := client.Transport.(*http.Transport)
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetHTTP1(major == 1)
			transport.Protocols.SetHTTP2(major == 2)
			answer, err := client.Get(d.URL("/whoami"))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK || answer.Proto != protocol || answer.TLS.Version != tls.VersionTLS13 {
				t.Errorf("status %d over %s, %s", answer.StatusCode, answer.Proto, tls.VersionName(answer.TLS.Version))
			}
		})
	}
}

// TestOlderTLS has the listener speak TLS 1.2 only while it is told to, and
// nothing older ever.
func TestOlderTLS(t *testing.T) {
	lab.Require(t, "openssl", "curl")
	d := lab.NewHome(t).Start(t)
	ca := d.File(t, "ca.crt", d.CA(t))
	speaks := func(version string) bool {
		t.Helper()
		// OpenSSL itself gives TLS 1.1 up unless it is told that security is none of its business.
		r := sClient(t, d, "-CAfile", ca, "-verify_return_error", "-"+version, "-cipher", "DEFAULT@SECLEVEL=0")
		return r.Status == 0 && strings.Contains(r.Stdout, "Verify return code: 0 (ok)")
	}
	check := func(want map[string]bool) {
		t.Helper()
		for version, want := range want {
			if got := speaks(version); got != want {
				t.Errorf("%s is spoken: %v, expected %v", version, got, want)
			}
		}
		r := lab.TryTool(t, "curl", "-sS", "--max-time", "20", "--cacert", ca, "--tls-max", "1.2", d.URL("/healthz"))
		const handshake = 35 // curl(1)
		if (r.Status == 0) != want["tls1_2"] || r.Status != 0 && r.Status != handshake {
			t.Errorf("curl --tls-max 1.2: exit status %d: %s", r.Status, r.Stderr)
		}
	}
	check(map[string]bool{"tls1_1": false, "tls1_2": false, "tls1_3": true})
	d.Run(t, "cluster", "config", "update", "--set", "listener.tls_min_version=1.2")
	check(map[string]bool{"tls1_1": false, "tls1_2": true, "tls1_3": true})
	// RFC 9325, 4.2: no suite without forward secrecy.
	if r := sClient(t, d, "-CAfile", ca, "-tls1_2", "-cipher", "kRSA"); r.Status == 0 {
		t.Errorf("a suite without forward secrecy is spoken:\n%s", r.Stdout)
	}
	d.Run(t, "cluster", "config", "update", "--unset", "listener.tls_min_version")
	check(map[string]bool{"tls1_1": false, "tls1_2": false, "tls1_3": true})
}

// sClient runs "openssl s_client" against a daemon. It hangs up after the handshake.
func sClient(t *testing.T, d *lab.Daemon, args ...string) lab.Result {
	t.Helper()
	return lab.TryTool(t, "openssl", append([]string{"s_client", "-connect", d.Address}, args...)...)
}

// TestEveryKeyServes has the listener present a certificate over each type of
// key, to a client that is not of this project.
func TestEveryKeyServes(t *testing.T) {
	lab.Require(t, "curl")
	d := lab.NewHome(t).Start(t)
	ca := d.File(t, "ca.crt", d.CA(t))
	d.Run(t, "cluster", "config", "update", "--set", "listener.tls_min_version=1.2")
	for _, keyType := range []string{"ec-p384", "ed25519", "rsa-2048", "ec-p256"} {
		d.Run(t, "system/sec/cert", "config", "update", "--set", "key_type="+keyType)
		d.Run(t, "certificate", "renew", "--rekey")
		for _, most := range []string{"1.2", "1.3"} {
			out := lab.Tool(t, "curl", "-sS", "--max-time", "20", "--cacert", ca, "--tls-max", most, "-w", "%{http_code}", "-o", "/dev/null", d.URL("/healthz"))
			if out != fmt.Sprint(http.StatusOK) {
				t.Errorf("%s over TLS %s: status %s", keyType, most, out)
			}
		}
	}
}
