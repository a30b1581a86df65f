package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"omca/internal/client"
)

// authorized is a client of a handler that takes one Authorization header alone, and what it was asked with.
func authorized(t *testing.T, accepted string, authorization func(context.Context, string) (string, error)) (*client.Client, *[]string) {
	t.Helper()
	asked := &[]string{}
	c, err := client.New(client.Config{Authorization: authorization, Transport: transport(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		*asked = append(*asked, r.Header.Get("Authorization")+string(body))
		if r.Header.Get("Authorization") != accepted {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"title":"Unauthorized","status":401,"detail":"not authenticated"}`)
		} else {
			fmt.Fprint(w, `{"access_token":"next"}`)
		}
		resp := w.Result()
		resp.Request = r
		return resp, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	return c, asked
}

func TestARefusedAuthorizationIsReplacedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		second  string // what there is after a refusal
		want    []string
		refused bool
	}{
		"another one":       {"Bearer new", []string{"Bearer oldv", "Bearer newv"}, false},
		"the same":          {"Bearer old", []string{"Bearer oldv"}, true},
		"another bad one":   {"Bearer worse", []string{"Bearer oldv", "Bearer worsev"}, true},
		"none any more":     {"", []string{"Bearer oldv", "v"}, true},
		"the right at once": {"unused", nil, false},
	} {
		first := "Bearer old"
		if tt.want == nil {
			first, tt.want = "Bearer new", []string{"Bearer newv"}
		}
		c, asked := authorized(t, "Bearer new", func(_ context.Context, refused string) (string, error) {
			switch refused {
			case "":
				return first, nil
			case first:
				return tt.second, nil
			}
			return "", fmt.Errorf("asked after %q", refused)
		})
		err := c.ChangeKey(t.Context(), client.Path{Namespace: "ns1", Kind: "sec", Name: "a"}, "k", []byte("v"))
		var problem *client.Error
		if refused := errors.As(err, &problem) && problem.Status == 401; refused != tt.refused || !slices.Equal(*asked, tt.want) {
			t.Errorf("%s: %v after %q, want %q", name, err, *asked, tt.want)
		}
	}
}

func TestNoAuthorizationNoCall(t *testing.T) {
	expired := errors.New("expired")
	c, asked := authorized(t, "", func(context.Context, string) (string, error) { return "", expired })
	if err := c.Health(t.Context()); !errors.Is(err, expired) || len(*asked) > 0 {
		t.Errorf("%v after %q, want that nothing was asked", err, *asked)
	}
	c, asked = authorized(t, "Bearer x", func(_ context.Context, refused string) (string, error) {
		if refused != "" {
			return "", expired
		}
		return "Bearer y", nil
	})
	if err := c.Health(t.Context()); !errors.Is(err, expired) || len(*asked) != 1 {
		t.Errorf("%v after %q, want the reason why there is no other", err, *asked)
	}
}

func TestRefresh(t *testing.T) {
	c, asked := authorized(t, "Bearer r1", nil)
	got, err := c.Refresh(t.Context(), "r1")
	if err != nil || got.AccessToken != "next" || !slices.Equal(*asked, []string{"Bearer r1"}) {
		t.Errorf("%+v, %v after %q", got, err, *asked)
	}
	var problem *client.Error
	if _, err := c.Refresh(t.Context(), "r2"); !errors.As(err, &problem) || problem.Status != 401 {
		t.Errorf("error %v, want the refusal", err)
	}
	for _, answer := range []string{`{}`, `{"access_token":["secret"]}`, `secret`} {
		c := handled(t, nil, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		if _, err := c.Refresh(t.Context(), "r1"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want one without the answer", answer, err)
		}
	}
}

func TestNodes(t *testing.T) {
	c := handled(t, nil, func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]string{
			"/api/node?node=n%2A": `{"kind":"NodeList","items":[{"meta":{"node":"n1"},"data":{"status":{"agent":"1.2","started_at":"2026-01-01T00:00:00Z"}}},{"meta":{"node":"n2"},"data":{"status":null}}]}`,
			"/api/node/info":      `{"n1":{"listener":{"addr":"::","port":"1215","state":"running"}}}`,
			"/api/auth/whoami":    `{"auth":"jwt","grant":{"admin":["ns1"],"guest":null},"name":"a","namespace":"system","raw_grant":"admin:ns1 guest"}`,
		}
		if !json.Valid([]byte(answers[r.URL.RequestURI()])) {
			t.Errorf("asked for %s", r.URL.RequestURI())
		}
		fmt.Fprint(w, answers[r.URL.RequestURI()])
	})
	nodes, err := c.Nodes(t.Context(), "n*")
	if err != nil || len(nodes) != 2 || nodes[0].Agent != "1.2" || nodes[0].StartedAt.Year() != 2026 || nodes[1] != (client.Node{Node: "n2"}) {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	infos, err := c.NodeInfos(t.Context())
	if err != nil || infos["n1"].Listener.Port != "1215" {
		t.Errorf("infos %+v, %v", infos, err)
	}
	who, err := c.Whoami(t.Context())
	if guest, there := who.Grant["guest"]; err != nil || who.Name != "a" || guest != nil || !there {
		t.Errorf("whoami %+v, %v", who, err)
	}
}
