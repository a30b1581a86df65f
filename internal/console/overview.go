package console

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"omca/internal/api"
)

// A hand is something that somebody should do, and the command that does it.
type hand struct{ What, Command string }

type overviewPage struct {
	Status *api.Status // nil for who may not look around, like the next
	CA     *api.Authority
	Lists  []api.CRL
	Nodes  []api.NodeItem // root's
	Hands  []hand
	Chart  chart
}

const (
	soonCA       = 90 * 24 * time.Hour
	soonListener = 7 * 24 * time.Hour
)

// overview shows what the visitor may see of the whole, and leaves out the rest.
func overview(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	var p overviewPage
	authority, err := get[api.Authority](v, "/api/ca", nil)
	switch {
	case err == nil:
		p.CA = &authority
	case isRefused(err, http.StatusNotFound):
		p.Hands = append(p.Hands, hand{"The cluster has no CA: nothing can be signed.", "omca system/sec/ca certificate create"})
	case !isRefused(err, http.StatusForbidden):
		return err
	}
	status, err := get[api.Status](v, "/api/daemon/status", nil)
	if err == nil {
		p.Status = &status
		lists, err := get[api.CRLList](v, "/api/crl", nil)
		if err != nil {
			return err
		}
		p.Lists = lists.Items
	} else if !isRefused(err, http.StatusForbidden) {
		return err
	}
	if v.who.Root {
		nodes, err := get[api.NodeList](v, "/api/node", nil)
		if err != nil {
			return err
		}
		p.Nodes = nodes.Items
	}
	list, err := get[api.CertificateList](v, "/api/certificate", url.Values{"expiring": {fmt.Sprintf("%dd", 7*chartWeeks)}, "revoked": {"false"}, "limit": limit(chartMost)})
	if err != nil {
		return err
	}
	p.Chart = newChart(v.Now(), list)
	p.Hands = append(p.Hands, p.hands(v.Now())...)
	return v.show(http.StatusOK, "overview", "Overview", "overview", p)
}

// hands is what needs one.
func (p overviewPage) hands(now time.Time) []hand {
	var all []hand
	add := func(command, format string, args ...any) {
		all = append(all, hand{fmt.Sprintf(format, args...), command})
	}
	if p.CA != nil && p.CA.NotAfter.Sub(now) < soonCA {
		add("omca "+p.CA.Path+" certificate renew", "The certificate of the CA expires %s, and nothing that it signed is accepted after that.", left(p.CA.NotAfter.Sub(now)))
	}
	if s := p.Status; s != nil {
		if !s.ListenerNotAfter.IsZero() && s.ListenerNotAfter.Sub(now) < soonListener {
			add("omca system/sec/cert certificate renew", "The certificate of the listener expires %s.", left(s.ListenerNotAfter.Sub(now)))
		}
		if s.RestartError != "" {
			add("omca daemon restart", "The last restart failed, and the former process serves on: %s.", s.RestartError)
		}
		if s.OpenID != nil && !s.OpenID.Usable {
			add("omca daemon status", "The tokens of the OpenID issuer %s cannot be verified: %s.", s.OpenID.Issuer, s.OpenID.LastError)
		}
	}
	for _, l := range p.Lists {
		of := l.CA
		if of == "" {
			of = l.Source
		}
		if l.State != "fresh" {
			add("omca crl refresh", "The revocation list of %s is %s%s.", of, l.State, because(l.LastError))
		}
	}
	return all
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
