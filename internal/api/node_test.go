package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/wire"
	"omca/usr"
)

const nodes = "/api/node/name/"

func TestNodes(t *testing.T) {
	w := newWorld(t)
	for query, want := range map[string]string{
		"": "node1 node2", "?node=": "node1 node2", "?node=*": "node1 node2", "?node=node2": "node2", "?node=_": "node1",
		"?node=localhost,node2": "node1 node2", "?node=n*1": "node1", "?node=other": "",
	} {
		list := into[wire.NodeList](w.do(request{target: "/api/node" + query, by: "root"}).want(http.StatusOK))
		var names []string
		for _, item := range list.Items {
			names = append(names, item.Meta.Node)
			if known := item.Data.Status != nil; known != (item.Meta.Node == "node1") || item.Kind != "NodeItem" {
				t.Errorf("%s: %+v", query, item)
			}
		}
		if got := strings.Join(names, " "); got != want || list.Kind != "NodeList" {
			t.Errorf("%s: %s %s, want NodeList %s", query, list.Kind, got, want)
		}
	}
	w.do(request{target: "/api/node?node=[", by: "root"}).refused(http.StatusBadRequest, "not a glob")
	w.do(request{target: "/api/node?node=" + strings.Repeat("n", 1025), by: "root"}).refused(http.StatusBadRequest, "1025 bytes")
}

func TestNodeInfo(t *testing.T) {
	w := newWorld(t)
	got := into[map[string]wire.NodeInfo](w.do(request{target: "/api/node/info", by: "squatter"}).want(http.StatusOK))
	want := map[string]wire.NodeInfo{
		"node1": {Labels: map[string]string{}, Paths: []string{}, Listener: wire.NodeListener{Addr: "::", Port: "1215", State: "running"}},
		"node2": {Labels: map[string]string{}, Paths: []string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	w.do(request{target: "/api/node/info", by: "none"}).refused(http.StatusForbidden, "any role")
	if err := anyRole().check(t.Context(), &call{}); !errors.Is(err, usr.ErrUnauthenticated) && !errors.Is(err, usr.ErrDenied) {
		t.Errorf("nobody may: %v", err)
	}
}

func TestPing(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"node1", "localhost", "_"} {
		w.do(request{target: nodes + name + "/ping", by: "root"}).want(http.StatusNoContent)
	}
	w.do(request{target: nodes + "node9/ping", by: "root"}).refused(http.StatusNotFound, `"node9"`)
	w.do(request{target: nodes + "node2/ping", by: "root"}).refused(http.StatusBadGateway, "another node")
	w.do(request{target: nodes + "node1/ping", by: "adminall"}).refused(http.StatusForbidden)
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"node1", "localhost", "_"} {
		got := into[wire.Called](w.do(request{method: http.MethodPost, target: nodes + name + "/daemon/action/restart", by: "root"}).want(http.StatusOK))
		if w.restarted != i+1 || got.Status != 200 || got.Detail == "" || !strings.Contains(got.Title, "restart has been called") {
			t.Errorf("%s: restarted %d times: %+v", name, w.restarted, got)
		}
	}
	w.do(request{method: http.MethodPost, target: nodes + "node9/daemon/action/restart", by: "root"}).refused(http.StatusBadRequest, `"node9"`)
	w.do(request{method: http.MethodPost, target: nodes + "node2/daemon/action/restart", by: "root"}).want(http.StatusOK) // through the store: TestAskNode
	w.do(request{method: http.MethodPost, target: nodes + "node1/daemon/action/restart", by: "adminall"}).refused(http.StatusForbidden)
	if w.restarted != 3 {
		t.Errorf("restarted %d times by those that were refused", w.restarted-3)
	}
	c := w.door.Config
	c.Restart = nil
	w.handler = must(New(c))(t)
	w.do(request{method: http.MethodPost, target: nodes + "node1/daemon/action/restart", by: "root"}).refused(http.StatusConflict, "no daemon is running")
}

func TestPurge(t *testing.T) {
	w := newWorld(t)
	got := into[wire.Orchestration](w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/action/purge", by: "admin1"}).want(http.StatusOK))
	if len(got.OrchestrationID) != 36 {
		t.Errorf("id %q", got.OrchestrationID)
	}
	w.do(request{target: at + "ns1/sec/web", by: "admin1"}).refused(http.StatusNotFound)
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/action/purge", by: "admin1"}).refused(http.StatusNotFound)
}
