package pki_test

import (
	"errors"
	"strings"
	"testing"

	"omca/pki"
)

func TestPolicy(t *testing.T) {
	dns := pki.PolicyRules{Allow: []string{"*.example.com", "www.example.org"}}
	deny := pki.PolicyRules{Deny: []string{"*.evil.com", "admin.example.com", "10.0.0.0/8", "@evil.com", "URI:evil.com", "localhost"}}
	mixed := pki.PolicyRules{
		Allow: []string{"*.example.com", "10.0.0.0/8", "192.0.2.7", "fd00::/8", "@mycorp", "Root@example.com", "URI:*.example.com"},
		Deny:  []string{"secret.example.com", "10.1.0.0/16"},
	}
	for _, tt := range []struct {
		rules    pki.PolicyRules
		cn, name string
		ok       bool
	}{
		{pki.PolicyRules{}, "anything.at.all", "10.0.0.1", true},

		{dns, "", "a.example.com", true},
		{dns, "", "A.Example.Com", true},
		{dns, "", "*.example.com", true},
		{dns, "", "www.example.org", true},
		{dns, "", "example.com", false},
		{dns, "", "a.b.example.com", false}, // an allow list is as narrow as it looks
		{dns, "", "*.example.org", false},
		{dns, "", "a.example.com.evil.com", false},
		{dns, "", "10.0.0.1", false},
		{dns, "", "joe@example.com", false},
		{dns, "", "https://a.example.com/", false},
		{dns, "alice", "", true},
		{dns, "Alice Smith", "", true},
		{dns, "evil.com", "", false},
		{dns, "EVIL.com", "a.example.com", false},
		{dns, "a.example.com", "", true},

		{deny, "", "www.example.com", true},
		{deny, "", "evil.com", true},
		{deny, "", "a.evil.com", false},
		{deny, "", "a.b.evil.com", false}, // a deny list is as wide as it looks
		{deny, "", "*.evil.com", false},
		{deny, "", "*.b.evil.com", false},
		{deny, "", "admin.example.com", false},
		{deny, "", "*.example.com", false}, // would serve admin.example.com
		{deny, "", "10.1.2.3", false},
		{deny, "", "::ffff:10.1.2.3", false},
		{deny, "", "192.0.2.1", true},
		{deny, "", "Joe@Evil.com", false},
		{deny, "", "https://evil.com/", false},
		{deny, "localhost", "", false},
		{deny, "LocalHost", "", false},
		{deny, "10.1.2.3", "", false},
		{deny, "joe@evil.com", "", false},
		{deny, "a.evil.com", "", false},
		{deny, "alice", "", true},

		{mixed, "", "a.example.com", true},
		{mixed, "", "secret.example.com", false},
		{mixed, "", "10.2.0.1", true},
		{mixed, "", "10.1.0.1", false},
		{mixed, "", "192.0.2.7", true},
		{mixed, "", "192.0.2.8", false},
		{mixed, "", "fd00::1", true},
		{mixed, "", "fe00::1", false},
		{mixed, "", "support@mycorp", true},
		{mixed, "", "ROOT@example.com", true},
		{mixed, "", "joe@example.com", false},
		{mixed, "", "https://a.example.com/x", true},
		{mixed, "", "https://example.com/x", false},
		{mixed, "", "urn:a:b", false},
	} {
		p := must[*pki.Policy](t)(pki.NewPolicy(tt.rules))
		var names pki.Names
		if tt.name != "" {
			names = must[pki.Names](t)(pki.ParseNames([]string{tt.name}))
		}
		err := p.Check(pki.Subject{CommonName: tt.cn}, names)
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, pki.ErrNotAllowed) {
			t.Errorf("%+v: common name %q, name %q: %v, want allowed %t", tt.rules, tt.cn, tt.name, err, tt.ok)
		}
	}
}

func TestPolicyNamesTheName(t *testing.T) {
	p := must[*pki.Policy](t)(pki.NewPolicy(pki.PolicyRules{Allow: []string{"*.example.com"}, Deny: []string{"*.x.example.com"}}))
	for _, name := range []string{"a.example.org", "y.x.example.com"} {
		err := p.Check(pki.Subject{}, pki.Names{DNS: []string{name}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPolicySeesTheSubjectsEmail(t *testing.T) {
	p := must[*pki.Policy](t)(pki.NewPolicy(pki.PolicyRules{Deny: []string{"@evil.com"}}))
	if err := p.Check(pki.Subject{Email: "joe@evil.com"}, pki.Names{}); !errors.Is(err, pki.ErrNotAllowed) {
		t.Error(err)
	}
	if err := p.Check(pki.Subject{}, pki.Names{DNS: []string{"a..b"}}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a malformed name: %v", err)
	}
}

func TestNilPolicyAllows(t *testing.T) {
	var p *pki.Policy
	if err := p.Check(pki.Subject{CommonName: "evil.com"}, pki.Names{}); err != nil {
		t.Error(err)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	for _, rule := range []string{"", "*", "a.*.b", "a..b", "10.0.0.0/99", "::ffff:10.0.0.0/104", "IP:example.com", "URI:https://example.com", "URI:10.0.0.1", "@", "@*.example.com", "joe@"} {
		for _, rules := range []pki.PolicyRules{{Allow: []string{rule}}, {Deny: []string{rule}}} {
			if _, err := pki.NewPolicy(rules); !errors.Is(err, pki.ErrInvalid) {
				t.Errorf("%+v: %v", rules, err)
			}
		}
	}
	if _, err := pki.NewPolicy(pki.PolicyRules{Allow: make([]string, 1001)}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("1001 rules: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("*.example.com", "a.example.com", "alice")
	f.Add("10.0.0.0/8", "10.0.0.1", "a.b")
	f.Add("@example.com", "joe@example.com", "*.c")
	f.Fuzz(func(t *testing.T, rule, name, cn string) {
		denied, err := pki.NewPolicy(pki.PolicyRules{Deny: []string{rule}})
		if err != nil {
			return
		}
		both := must[*pki.Policy](t)(pki.NewPolicy(pki.PolicyRules{Allow: []string{rule}, Deny: []string{rule}}))
		names, err := pki.ParseNames([]string{name})
		if err != nil {
			return
		}
		if both.Check(pki.Subject{}, names) == nil {
			t.Fatalf("%q passed a policy that allows and denies %q alone", name, rule)
		}
		if denied.Check(pki.Subject{CommonName: cn}, names) == nil && denied.Check(pki.Subject{}, names) != nil {
			t.Fatalf("%q passes %q only with the common name %q", name, rule, cn)
		}
	})
}
