package api

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"omca/internal/wire"
)

// canIAsk is the request of a question.
func canIAsk(by, verb, path, what, as string) request {
	q := url.Values{"verb": {verb}}
	if path != "" {
		q.Set("path", path)
	}
	if what != "" {
		q["what"] = strings.Fields(what)
	}
	if as != "" {
		q.Set("as", as)
	}
	return request{target: "/api/auth/can-i?" + q.Encode(), by: by}
}

func TestCanI(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "o=MyCorp")
	w.put("system/usr/off", "grant=root", "disabled=true")
	for _, tt := range []struct {
		by, verb, path, what, as string
		want                     bool
		reason                   string
	}{
		{"guest1", "read", "ns1/sec/web", "", "", true, ""},
		{"guest1", "read", "ns2/sec/web", "", "", false, `needs guest on namespace "ns2"; "guest1" holds guest:ns1`},
		{"guest1", "read", "system/usr/guest1", "", "", true, ""},
		{"guest1", "read-key", "ns1/sec/web", "color", "", false, "needs admin"},
		{"guest1", "read-key", "ns1/cfg/plain", "motd", "", true, ""},
		{"guest1", "read-key", "system/usr/guest1", "certificate private_key", "", true, ""},
		{"admin1", "read-key", "ns1/sec/web", "color private_key", "", false, "needs root"},
		{"root", "read-key", "system/usr/guest1", "password", "", false, "never be read"},
		{"admin1", "create", "ns1/sec/new", "", "", true, ""},
		{"admin1", "create", "ns9/sec/new", "", "", false, "ns9"},
		{"squatter", "create", "ns9/sec/new", "", "", true, ""},
		{"admin1", "change", "ns1/sec/web", "", "", true, ""},
		{"operator1", "delete", "ns1/sec/web", "", "", false, "needs admin"},
		{"adminsys", "change", "system/usr/guest1", "", "", false, "needs every grant"},
		{"guest1", "revoke", "system/usr/guest1", "", "", true, ""},
		{"guest1", "revoke", "system/usr/none", "", "", false, "needs admin"},
		{"admin1", "set", "ns1/sec/web", "o=MyCorp", "", true, ""},
		{"admin1", "set", "ns1/sec/web", "o=MyCorp cn=x", "", false, `"cn"`},
		{"admin1", "set", "ns1/sec/new", "comment=x", "", true, ""},
		{"admin1", "set", "ns2/sec/web", "comment=x", "", false, "ns2"},
		{"adminsys", "set", "system/usr/adminsys", "allowed_ips=192.0.2.1", "", false, "that you call as"},
		{"adminsys", "set", "system/usr/none", "grant=root", "", false, `"root"`},
		{"admin1", "grant", "", "guest:ns1 admin:ns1", "", true, ""},
		{"admin1", "grant", "", "guest:ns1 admin:ns2", "", false, "admin:ns2"},
		{"admin1", "grant", "system/usr/none", "guest:ns1", "", false, "needs admin"},
		{"signer", "sign", "", "www.clu.mycorp", "", true, ""},
		{"signer", "sign", "", "www.clu.mycorp www.example.org", "", false, "www.example.org"},
		{"guest1", "sign", "", "www.clu.mycorp", "", false, "names"},
		{"root", "sign", "", "anything.example.org", "", true, ""},
		{"guest1", "administer", "", "", "", false, "needs root"},
		{"root", "administer", "", "", "", true, ""},
		// For somebody else.
		{"root", "read", "ns1/sec/web", "", "guest1", true, ""},
		{"root", "change", "ns1/sec/web", "", "guest1", false, `"guest1" holds guest:ns1`},
		{"root", "read", "ns1/sec/web", "", "off", false, "disabled"},
		{"adminsys", "read", "ns1/sec/web", "", "none", false, `"none" holds no grant`},
		{"root", "sign", "", "www.clu.mycorp", "signer", true, ""},
		{"root", "read-key", "system/usr/guest1", "private_key", "guest1", true, ""},
	} {
		res := w.do(canIAsk(tt.by, tt.verb, tt.path, tt.what, tt.as)).want(http.StatusOK)
		v := into[wire.Verdict](res)
		if v.Allowed != tt.want || !strings.Contains(v.Reason, tt.reason) || (v.Reason == "") != v.Allowed || v.Rule == "" || v.Verb != tt.verb {
			t.Errorf("%s: %+v, want %v and %q", res.what, v, tt.want, tt.reason)
		}
	}
	if n := len(into[wire.ObjectList](w.do(request{target: "/api/object?path=ns9/**", by: "root"})).Items); n != 0 {
		t.Error("asking made an object")
	}
}

func TestCanIRefuses(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		by, verb, path, what, as string
		status                   int
		word                     string
	}{
		{"guest1", "", "ns1/sec/web", "", "", 400, "not one of"},
		{"guest1", "raed", "ns1/sec/web", "", "", 400, `did you mean "read"`},
		{"guest1", "read", "", "", "", 400, "needs a path"},
		{"guest1", "read", "ns1/foo/web", "", "", 400, "kind"},
		{"guest1", "read", "ns1/sec/web", "color", "", 400, "nothing but a path"},
		{"guest1", "read-key", "ns1/sec/web", "", "", 400, "needs NAME"},
		{"guest1", "grant", "", "rot", "", 400, "role"},
		{"guest1", "sign", "", "a a..b", "", 400, "request"},
		{"admin1", "set", "ns1/sec/web", "gramt=x", "", 400, "unknown keyword"},
		{"", "read", "ns1/sec/web", "", "", 401, "not authenticated"},
		// Who asks for others must be able to be them.
		{"guest1", "read", "ns1/sec/web", "", "none", 403, "needs admin"},
		{"adminsys", "read", "ns1/sec/web", "", "boss", 403, "needs every grant"},
		{"adminsys", "read", "ns1/sec/web", "", "signer", 403, "needs every grant"},
		{"root", "read", "ns1/sec/web", "", "absent", 404, "absent"},
		{"root", "read", "ns1/sec/web", "", "UPPER", 400, "upper"},
	} {
		w.do(canIAsk(tt.by, tt.verb, tt.path, tt.what, tt.as)).refused(tt.status, tt.word)
	}
	// What may not be asked for reads the same whether it is there or not.
	there, absent := w.do(canIAsk("guest1", "read", "ns1/sec/web", "", "boss")).problem(), w.do(canIAsk("guest1", "read", "ns1/sec/web", "", "nono")).problem()
	if there.Detail != strings.ReplaceAll(absent.Detail, "nono", "boss") {
		t.Errorf("%q is not %q", there.Detail, absent.Detail)
	}
	for _, path := range []string{"ns7/sec/web", "ns1/sec/absent"} {
		for _, verb := range []string{"read", "create", "change", "delete", "revoke"} {
			a := into[wire.Verdict](w.do(canIAsk("none", verb, path, "", "")))
			b := into[wire.Verdict](w.do(canIAsk("none", verb, "ns1/sec/web", "", "")))
			if a.Allowed || b.Allowed || strings.ReplaceAll(strings.ReplaceAll(a.Reason, "ns7", "ns1"), "absent", "web") != b.Reason {
				t.Errorf("%s %s: %q, of one that is there %q", verb, path, a.Reason, b.Reason)
			}
		}
	}
}
