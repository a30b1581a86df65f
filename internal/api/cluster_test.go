package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/join"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
)

// fakeMembers is a cluster of node1 and node2.
type fakeMembers struct {
	gone   []string
	life   time.Duration
	by     string
	refuse error

	warnings, alarms []string
}

func (f *fakeMembers) Token(_ context.Context, who usr.Caller, life time.Duration) (wire.JoinToken, error) {
	f.life, f.by = life, who.Name
	return wire.JoinToken{Token: "omcajoin1-secret", ID: "id", Addresses: []string{"node1:1215"}}, nil
}

func (f *fakeMembers) Join(_ context.Context, _ wire.Address, request []byte) ([]byte, error) {
	if f.refuse != nil || len(request) == 0 {
		return nil, f.refuse
	}
	return []byte(`{"version":1,"cluster":"c","certificate":"","ca":"","members":[],"sealed":""}`), nil
}

func (f *fakeMembers) List(context.Context) ([]wire.ClusterMember, error) {
	return []wire.ClusterMember{{Node: "node1", URL: "https://node1:1217", State: "leader"}, {Node: "node2", URL: "https://node2:1217", State: "member"}}, nil
}

func (f *fakeMembers) Status(context.Context) (wire.ClusterStatus, error) {
	return wire.ClusterStatus{Node: "node1", Leader: "node1", Members: 2, State: "member", Warnings: f.warnings, Alarms: f.alarms}, nil
}

func (f *fakeMembers) Remove(_ context.Context, _ usr.Caller, node string) error {
	if node != "node2" {
		return fmt.Errorf("%w: %q", ca.ErrNotFound, node)
	}
	f.gone = append(f.gone, node)
	return nil
}

// joinBody is what a machine sends, as far as the document goes.
const joinBody = `{"version":1,"token":"t","cluster":"c","node":"n","url":"u","csr":"r","key":"AAAA","proof":"AAAA"}`

func TestClusterMembers(t *testing.T) {
	w := newWorld(t)
	list := into[wire.MemberList](w.do(request{target: "/api/cluster/member", by: "guest1"}).want(http.StatusOK))
	if len(list.Items) != 2 || list.Items[0].State != "leader" {
		t.Errorf("members %+v", list)
	}
	if s := into[wire.ClusterStatus](w.do(request{target: "/api/cluster/status", by: "guest1"}).want(http.StatusOK)); s.Leader != "node1" || s.Warnings == nil {
		t.Errorf("status %+v", s)
	}
	w.members.warnings, w.members.alarms = []string{"the store uses 85%"}, []string{"NOSPACE"}
	sick := w.do(request{target: "/api/doctor", by: "guest1"}).want(http.StatusOK)
	if !strings.Contains(string(sick.body), "uses 85%") || !strings.Contains(string(sick.body), "NOSPACE") {
		t.Errorf("doctor says %s", sick.body)
	}
	w.do(request{method: http.MethodDelete, target: "/api/cluster/member/node9", by: "root"}).refused(http.StatusNotFound, "node9")
	w.do(request{method: http.MethodDelete, target: "/api/cluster/member/node2", by: "adminall"}).refused(http.StatusForbidden)
	w.do(request{method: http.MethodDelete, target: "/api/cluster/member/node2", by: "root"}).want(http.StatusNoContent)
	if len(w.members.gone) != 1 {
		t.Errorf("removed %q", w.members.gone)
	}
	c := w.door.Config
	c.Members = nil
	w.handler = must(New(c))(t)
	w.do(request{target: "/api/cluster/member", by: "root"}).refused(http.StatusConflict, "its own")
}

func TestClusterToken(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/joiner", "grant=join")
	ask := request{method: http.MethodPost, target: "/api/cluster/token", by: "joiner"}
	if got := into[wire.JoinToken](w.do(ask).want(http.StatusCreated)); got.Token == "" || w.members.life != 30*time.Minute || w.members.by != "joiner" {
		t.Errorf("token %+v for %s, for %s", got.ID, w.members.life, w.members.by)
	}
	if said := w.log.take(); strings.Contains(said, "omcajoin1-secret") {
		t.Error("the token is in the log")
	}
	ask.body = `{"duration":"10m"}`
	if w.do(ask).want(http.StatusCreated); w.members.life != 10*time.Minute {
		t.Errorf("for %s, expected 10m", w.members.life)
	}
	for _, bad := range []string{"2d", "0s", "soon"} {
		ask.body = `{"duration":"` + bad + `"}`
		w.do(ask).refused(http.StatusBadRequest)
	}
	ask.body, ask.by = "", "adminall"
	w.do(ask).refused(http.StatusForbidden)
}

// Whatever is wrong with a request to join, the caller hears the same, and the log
// the reason.
func TestClusterJoin(t *testing.T) {
	w := newWorld(t)
	ask := request{method: http.MethodPost, target: "/api/cluster/join", body: joinBody}
	w.do(ask).want(http.StatusOK)
	w.members.refuse = join.ErrRefused
	one := w.do(ask)
	one.refused(http.StatusForbidden, "does not open this cluster")
	w.members.refuse = fmt.Errorf("%w: because of its secrets", join.ErrRefused)
	other := w.do(ask)
	other.refused(http.StatusForbidden, "does not open this cluster")
	if strings.Contains(string(other.body), "secrets") || len(one.body) != len(other.body) {
		t.Errorf("the refusals differ: %s, %s", one.body, other.body)
	}
	w.members.refuse = errors.New("the store is away")
	w.do(ask).refused(http.StatusInternalServerError)
	ask.body = strings.Repeat(" ", join.MaxRequest+1)
	w.do(ask).refused(http.StatusRequestEntityTooLarge)
	c := w.door.Config
	c.Members = nil
	w.handler = must(New(c))(t)
	ask.body = joinBody
	w.do(ask).refused(http.StatusForbidden, "does not open this cluster")
}

// A node is asked through the store.
func TestAskNode(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPatch, target: "/api/cluster/config?set=cluster.nodes%3Dnode1%20node2", by: "root"}).want(http.StatusOK)
	w.do(request{target: nodes + "node2/daemon/action", by: "root"}).refused(http.StatusNotFound)
	for _, do := range []string{"restart", "stop", "drain", "resume"} {
		w.do(request{method: http.MethodPost, target: nodes + "node2/daemon/action/" + do, by: "root"}).want(http.StatusOK)
		got := into[wire.NodeTask](w.do(request{target: nodes + "node2/daemon/action", by: "root"}).want(http.StatusOK))
		if got.Do != do || got.State != registry.TaskAsked || got.By != usr.MachineRoot {
			t.Errorf("%s: %+v", do, got)
		}
	}
	if w.restarted != 0 || w.stopped != 0 {
		t.Error("node1 did what node2 was asked")
	}
	taken := must(w.objects.Task(t.Context(), "node2"))(t)
	taken.State = registry.TaskTaken
	must(w.objects.Move(t.Context(), taken))(t)
	w.do(request{method: http.MethodPost, target: nodes + "node2/daemon/action/stop", by: "root"}).refused(http.StatusConflict, "resume")
	w.do(request{method: http.MethodPost, target: nodes + "node2/daemon/action/explode", by: "root"}).refused(http.StatusBadRequest, "explode")
	w.do(request{method: http.MethodPost, target: nodes + "node9/daemon/action/stop", by: "root"}).refused(http.StatusBadRequest, "node9")
	w.do(request{method: http.MethodPost, target: nodes + "node2/daemon/action/stop", by: "adminall"}).refused(http.StatusForbidden)
}
