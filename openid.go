package omca

import (
	"context"
	"crypto/ed25519"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"omca/internal/object"
	"omca/internal/openid"
	"omca/internal/wire"
)

// newOpenID makes the verifier of the tokens of an OpenID issuer. It has none
// until configureOpenID, and asks for nothing until Run or a token.
func (s *Server) newOpenID() error {
	var err error
	s.openid, err = openid.New(openid.Config{Now: s.config.Now, Log: s.config.Log, Foreign: s.foreignKey, Panics: s.panics, Network: s.network()})
	return err
}

// configureOpenID takes the issuer from the keywords. Tokens of the one before
// are refused when it returns, and so are all when the keywords cannot be read:
// an issuer that was taken away must not stay.
func (s *Server) configureOpenID(ctx context.Context) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	settings, err := s.openidSettings(ctx)
	if ctx.Err() != nil {
		return // on the way out
	}
	if err != nil {
		settings = openid.Settings{}
		s.config.Log.ErrorContext(ctx, "no OpenID issuer", "error", err)
	}
	if err := s.openid.Configure(settings); err != nil {
		s.config.Log.ErrorContext(ctx, "no OpenID issuer", "error", err)
	}
}

func (s *Server) openidSettings(ctx context.Context) (openid.Settings, error) {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return openid.Settings{}, err
	}
	var settings openid.Settings
	for keyword, to := range map[string]*string{
		"listener.openid_issuer":      &settings.Issuer,
		"listener.openid_client_id":   &settings.ClientID,
		"listener.openid_grant_claim": &settings.GrantClaim,
	} {
		if *to, err = cluster.Config.Eval(keyword); err != nil {
			return openid.Settings{}, fmt.Errorf("keyword %s: %w", keyword, err)
		}
	}
	return settings, nil
}

// foreignKey reports whether a key is none of ours. An issuer that publishes one
// of ours would take in what was revoked here.
func (s *Server) foreignKey(key any) bool {
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return true // ours are all Ed25519
	}
	keys, err := s.tokens.PublicKeys(s.background)
	if err != nil {
		return false
	}
	for _, k := range keys {
		if k.Public.Equal(public) {
			return false
		}
	}
	return true
}

// authInfo answers /api/auth/info: the ways that would succeed now. An issuer
// whose keys are not known is none of them.
func (s *Server) authInfo() wire.AuthInfo {
	info := wire.AuthInfo{Methods: []string{"basic", "x509", "jwt"}}
	if st := s.openid.Status(); st.Usable {
		info.Methods = append(info.Methods, "openid")
		info.OpenID = &wire.OpenIDInfo{ClientID: st.ClientID, Issuer: st.Issuer}
	}
	return info
}

// openidStatus says how the issuer is doing; nil when there is none.
func (s *Server) openidStatus() *wire.OpenIDStatus {
	st := s.openid.Status()
	if !st.Configured {
		return nil
	}
	return &wire.OpenIDStatus{
		Issuer: st.Issuer, ClientID: st.ClientID, Usable: st.Usable, Reachable: st.Reachable,
		Since: st.Since, FetchedAt: st.FetchedAt, Keys: st.Keys, LastError: st.LastError,
	}
}

// openidMeasures are the numbers of the issuer.
func (s *Server) openidMeasures() []prometheus.Collector {
	state := func(name, help string, of func(openid.Status) bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "omca", Subsystem: "openid", Name: name, Help: help}, func() float64 {
			if of(s.openid.Status()) {
				return 1
			}
			return 0
		})
	}
	count := func(name, help string, of func(openid.Counts) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "omca", Subsystem: "openid", Name: name, Help: help}, func() float64 {
			return float64(of(s.openid.Counts()))
		})
	}
	return []prometheus.Collector{
		state("configured", "Whether an OpenID issuer is configured.", func(st openid.Status) bool { return st.Configured }),
		state("usable", "Whether the keys of the OpenID issuer are known, so that its tokens can be verified.", func(st openid.Status) bool { return st.Usable }),
		state("reachable", "Whether the OpenID issuer answered when it was asked last.", func(st openid.Status) bool { return st.Reachable }),
		count("fetches_total", "Times that the OpenID issuer was asked for its keys.", func(c openid.Counts) uint64 { return c.Attempts }),
		count("fetch_failures_total", "Those that failed.", func(c openid.Counts) uint64 { return c.Failures }),
	}
}
