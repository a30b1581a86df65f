package openid_test

import (
	"strings"
	"testing"

	"omca/internal/openid/openidtest"
	"omca/usr"
)

func TestNames(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		for _, test := range []struct {
			what    string
			altered map[string]any
			want    string // "" is refused
		}{
			{"preferred_username", nil, "openid:alice"},
			{"a verified address", map[string]any{"preferred_username": nil, "email": "Alice@my.corp", "email_verified": true}, "openid:Alice@my.corp"},
			{"an address that nobody verified", map[string]any{"preferred_username": nil, "email": "root@my.corp"}, "openid:f3a1c0de"},
			{"an address that is not verified", map[string]any{"preferred_username": nil, "email": "root@my.corp", "email_verified": false}, "openid:f3a1c0de"},
			{"sub alone", map[string]any{"preferred_username": nil}, "openid:f3a1c0de"},
			{"sub of a service", map[string]any{"preferred_username": nil, "sub": "repo:my/repo:ref:refs/heads/main"}, "openid:repo:my/repo:ref:refs/heads/main"},
			{"a name that is a number", map[string]any{"preferred_username": 7}, "openid:f3a1c0de"},
			{"an empty name", map[string]any{"preferred_username": ""}, "openid:f3a1c0de"},
			{"a line break", map[string]any{"preferred_username": "alice\nby=root"}, "openid:f3a1c0de"},
			{"a NUL", map[string]any{"preferred_username": "root\x00"}, "openid:f3a1c0de"},
			{"white space", map[string]any{"preferred_username": " root"}, "openid:f3a1c0de"},
			{"letters that look alike", map[string]any{"preferred_username": "аlice"}, "openid:f3a1c0de"},
			{"right to left", map[string]any{"preferred_username": "\u202eecila"}, "openid:f3a1c0de"},
			{"a list for a header", map[string]any{"preferred_username": "a,b"}, "openid:f3a1c0de"},
			{"256 characters", map[string]any{"preferred_username": strings.Repeat("a", 256)}, "openid:f3a1c0de"},
			{"255 characters", map[string]any{"preferred_username": strings.Repeat("a", 255)}, "openid:" + strings.Repeat("a", 255)},
			{"no name at all", map[string]any{"preferred_username": nil, "sub": "\u202e"}, ""},
			{"an empty sub", map[string]any{"preferred_username": nil, "sub": ""}, ""},
		} {
			token := w.token(test.altered)
			if test.want == "" {
				w.refuses(test.what, token, "name")
				continue
			}
			id := w.accepts(test.what, token)
			if id.Name != test.want {
				t.Errorf("%s: %q, want %q", test.what, id.Name, test.want)
			}
			if usr.ValidName(id.Name) == nil {
				t.Errorf("%s: %q can be the name of a user", test.what, id.Name)
			}
		}
	})
}

func TestGrants(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		for _, test := range []struct {
			what    string
			altered map[string]any
			want    string
		}{
			{"an array", map[string]any{"grant": []string{"admin:ns1", "guest:ns2"}}, "admin:ns1 guest:ns2"},
			{"a text", map[string]any{"grant": "admin:ns1  guest:ns2"}, "admin:ns1 guest:ns2"},
			{"an array of texts", map[string]any{"grant": []string{"admin:ns1 guest:ns2", "squatter"}}, "admin:ns1 guest:ns2 squatter"},
			{"none", map[string]any{"grant": nil}, ""},
			{"null", map[string]any{"grant": []any{nil}}, ""},
			{"entitlements", map[string]any{"grant": nil, "entitlements": []string{"operator:ns1"}}, "operator:ns1"},
			{"both", map[string]any{"entitlements": []string{"operator:ns2", "admin:ns1"}}, "admin:ns1 operator:ns2"},
			{"words of others", map[string]any{"grant": []string{"offline_access", "guest:ns1", "billing:read", "admin:ns1,", "Admin"}}, "guest:ns1"},
			{"root", map[string]any{"grant": []string{"root", "guest"}}, "guest"},
			{"root in a list", map[string]any{"grant": []string{"guest,root", "guest:ns1"}}, "guest:ns1"},
			{"root in entitlements", map[string]any{"entitlements": "root"}, "admin:ns1"},
			{"what lets machines in and out", map[string]any{"grant": "join leave heartbeat prioritizer"}, "prioritizer"},
			{"system by its name", map[string]any{"grant": "admin:system"}, "admin:system"},
			{"an object", map[string]any{"grant": map[string]any{"admin": []string{"ns1"}}}, ""},
			{"a number", map[string]any{"grant": 1}, ""},
			{"true", map[string]any{"grant": true}, ""},
			{"other things in an array", map[string]any{"grant": []any{1, true, []string{"admin"}, map[string]any{"admin": 1}, "guest:ns1"}}, "guest:ns1"},
		} {
			id := w.accepts(test.what, w.token(test.altered))
			if got := id.Grants.String(); got != test.want {
				t.Errorf("%s: %q, want %q", test.what, got, test.want)
			}
			if id.Grants.Has(usr.RoleRoot, "") {
				t.Errorf("%s: root by a claim", test.what)
			}
		}
		before := w.log.count("passed over")
		for range 3 {
			w.accepts("again", w.token(map[string]any{"grant": "root new\u0001word"}))
		}
		if n := w.log.count("passed over") - before; n != 1 {
			t.Errorf("%d lines about one new word, said three times", n)
		}
		if strings.Contains(w.log.String(), "\u0001") {
			t.Error("the log has a control character")
		}
		many := "guest:" + strings.Repeat("a,", 600) + "a"
		w.refuses("more than anybody may hold", w.token(map[string]any{"grant": []string{many, "operator" + many[5:]}}), "grants")
	})
}
