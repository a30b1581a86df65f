package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// resumption is a client that makes a connection per request and keeps its tickets.
func resumption(t *testing.T, h *house, version uint16) (resumes func() (bool, error)) {
	cert := h.ca.issue(t, "alice", 7)
	c := h.client(t, clientOptions{cert: &cert, fresh: true, resumes: true, version: version})
	return func() (bool, error) {
		res, _, err := get(c, h.url)
		if err != nil {
			return false, err
		}
		return res.TLS.DidResume, nil
	}
}

func TestVerifyIsAskedInFullAndResumedHandshakes(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var revoked atomic.Bool
			var asked, resumed atomic.Int64
			h := open(t, oldest(TLS12), func(c *Config, _ *Generation) {
				c.Verify = func(state tls.ConnectionState) error {
					asked.Add(1)
					if state.DidResume {
						resumed.Add(1)
					}
					if len(state.VerifiedChains) != 1 || state.VerifiedChains[0][0].SerialNumber.Int64() != 7 {
						return fmt.Errorf("chains: %v", state.VerifiedChains)
					}
					if revoked.Load() {
						return errors.New("revoked")
					}
					return nil
				}
			})
			resumes := resumption(t, h, version)
			for i, want := range []bool{false, true} {
				if got, err := resumes(); got != want || err != nil {
					t.Fatalf("handshake %d: resumed %v, %v, want %v", i, got, err, want)
				}
			}
			if asked.Load() != 2 || resumed.Load() != 1 {
				t.Errorf("Verify was asked %d times, %d about a resumption, want 2 and 1", asked.Load(), resumed.Load())
			}
			revoked.Store(true)
			if _, err := resumes(); err == nil {
				t.Error("a revoked client resumed")
			}
			// The server asked about the resumption, and again when the client tried a full one, if
			// it did.
			if resumed.Load() != 2 {
				t.Errorf("Verify was asked about %d resumptions, want 2", resumed.Load())
			}
			// A client without a certificate is not Verify's concern.
			before := asked.Load()
			mustGet(t, h.client(t, clientOptions{}), h.url)
			if asked.Load() != before {
				t.Error("Verify was asked about a client without a certificate")
			}
		})
	}
}

func TestTicketsEnd(t *testing.T) {
	tests := map[string]struct {
		change func(*testing.T, *house, *clock)
		resume bool // whether the client may still resume
	}{
		"nothing changed": {func(*testing.T, *house, *clock) {}, true},
		"rotated":         {func(_ *testing.T, h *house, _ *clock) { h.RotateTickets() }, false},
		"after 23 hours":  {func(_ *testing.T, _ *house, c *clock) { c.advance(23 * time.Hour) }, true},
		"after 24 hours":  {func(_ *testing.T, _ *house, c *clock) { c.advance(24 * time.Hour) }, false},
		"same again, new staple": {func(t *testing.T, h *house, _ *clock) {
			g := h.current.Load().Generation
			g.Certificate.OCSPStaple = []byte("staple")
			swap(t, h, g)
		}, true},
		"same again, after 24 hours": {func(t *testing.T, h *house, c *clock) {
			c.advance(23 * time.Hour)
			swap(t, h, h.current.Load().Generation)
			c.advance(time.Hour)
		}, false},
		"certificate changed": {func(t *testing.T, h *house, _ *clock) {
			g := h.current.Load().Generation
			g.Certificate = h.ca.issue(t, "listener", 300)
			swap(t, h, g)
		}, false},
		"trust changed": {func(t *testing.T, h *house, _ *clock) {
			g := h.current.Load().Generation
			g.ClientCAs = poolOf(h.ca, newAuthority(t, "second CA"))
			swap(t, h, g)
		}, false},
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, test := range tests {
			t.Run(tls.VersionName(version)+" "+name, func(t *testing.T) {
				var c clock
				h := open(t, at(&c), oldest(TLS12))
				resumes := resumption(t, h, version)
				for i, want := range []bool{false, true} {
					if got, err := resumes(); got != want || err != nil {
						t.Fatalf("handshake %d: resumed %v, %v, want %v", i, got, err, want)
					}
				}
				test.change(t, h, &c)
				if got, err := resumes(); got != test.resume || err != nil {
					t.Errorf("resumed %v, %v, want %v", got, err, test.resume)
				}
			})
		}
	}
}

func swap(t *testing.T, h *house, g Generation) {
	t.Helper()
	if err := h.Swap(g); err != nil {
		t.Fatal(err)
	}
}

func TestResumptionEndsWithTrust(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		h := open(t, oldest(TLS12))
		resumes := resumption(t, h, version)
		if _, err := resumes(); err != nil {
			t.Fatal(err)
		}
		g := h.current.Load().Generation
		g.ClientCAs = poolOf(newAuthority(t, "second CA"))
		swap(t, h, g)
		if _, err := resumes(); err == nil {
			t.Errorf("%s: a client of a CA that is no longer trusted got in", tls.VersionName(version))
		}
	}
}

func TestUnknownCAIsRefusedInTheHandshake(t *testing.T) {
	var asked atomic.Bool
	h := open(t, func(c *Config, _ *Generation) {
		c.Handler = httpNever(t)
		c.Verify = func(tls.ConnectionState) error { asked.Store(true); return nil }
	})
	for name, cert := range map[string]tls.Certificate{
		"stranger":    newAuthority(t, "stranger").issue(t, "alice", 2),
		"same name":   newAuthority(t, "test CA").issue(t, "alice", 2),
		"server only": h.ca.issue(t, "alice", 2, serverOnly),
		"expired":     h.ca.issue(t, "alice", 2, expired),
	} {
		if _, _, err := get(h.client(t, clientOptions{cert: &cert}), h.url); err == nil {
			t.Errorf("%s: got in", name)
		}
	}
	if asked.Load() {
		t.Error("Verify was asked about a certificate that no trusted CA signed")
	}
	if err := h.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if n := h.Counts().Failed; n != 4 {
		t.Errorf("%d failed handshakes were counted, want 4", n)
	}
}
