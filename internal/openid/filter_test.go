package openid_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/openid"
	"omca/internal/openid/openidtest"
	"omca/internal/outbound"
)

// TestKeysOnThisMachine: an issuer that the operator named on the loopback is asked there, and what its document names beside it is not.
func TestKeysOnThisMachine(t *testing.T) {
	issuer, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if err := json.NewEncoder(w).Encode(issuer.Keys()); err != nil {
			t.Error(err)
		}
	}))
	defer elsewhere.Close()
	port := elsewhere.URL[strings.LastIndex(elsewhere.URL, ":"):]
	network := &outbound.Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}}
	for name, c := range map[string]struct {
		keys    string
		trouble string
	}{
		"at the issuer":         {issuer.URL() + keys, ""},
		"beside the issuer":     {elsewhere.URL, "did not name this host and port"},
		"by a name":             {"https://keys.mycorp" + port, "did not name this host and port"},
		"by IPv4 in IPv6":       {"https://[::ffff:127.0.0.1]" + port, "did not name this host and port"},
		"in the metadata":       {"https://169.254.169.254/latest", "hands out credentials"},
		"of all of the machine": {"https://0.0.0.0" + port, "means this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer.Override(document, func(w http.ResponseWriter, _ *http.Request) {
				if err := json.NewEncoder(w).Encode(map[string]any{"issuer": issuer.URL(), "jwks_uri": c.keys}); err != nil {
					t.Error(err)
				}
			})
			log := &journal{}
			v, err := openid.New(openid.Config{Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Network: network})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if err := v.Configure(openid.Settings{Issuer: issuer.URL(), ClientID: "omca", GrantClaim: "grant"}); err != nil {
				t.Fatal(err)
			}
			token, err := issuer.Token(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), token)
			trouble := v.Status().LastError
			if (c.trouble == "") != (err == nil) || !strings.Contains(trouble, c.trouble) {
				t.Errorf("verify: %v, status %q, want %q", err, trouble, c.trouble)
			}
			if c.trouble != "" && (!errors.Is(err, openid.ErrUnavailable) || !strings.Contains(log.String(), "at its own host and port")) {
				t.Errorf("verify: %v, log %s", err, log)
			}
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server beside the issuer was asked %d times", n)
	}
}
