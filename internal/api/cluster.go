package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/join"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
)

// Members are the members of the cluster that keeps the store in the daemons.
//
// Errors: ca.ErrNotFound for a node that is no member, ca.ErrConflict for what
// cannot be done now, ca.ErrInvalid for what never can.
type Members interface {
	// Token makes a token with which one machine becomes a member until it expires.
	Token(ctx context.Context, who usr.Caller, life time.Duration) (wire.JoinToken, error)
	// Join redeems the request of a machine: join.ErrRefused for every request that
	// is not proven, whatever is wrong with it. Tries are counted by from.IP, unless
	// from.Local: a zero IP is an address of its own.
	Join(ctx context.Context, from wire.Address, request []byte) ([]byte, error)
	// List lists the members by name, as far as is known here.
	List(ctx context.Context) ([]wire.ClusterMember, error)
	// Status is how the member of this node is doing.
	Status(ctx context.Context) (wire.ClusterStatus, error)
	// Remove takes a node out of the cluster and its certificates back.
	Remove(ctx context.Context, who usr.Caller, node string) error
}

// What a machine says that joins, and what it is told.
type (
	JoinRequest join.Request
	JoinAnswer  join.Answer
)

// The life of a token.
const (
	tokenLife     = 30 * time.Minute
	mostTokenLife = 24 * time.Hour
)

func (d *door) clusterRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/cluster/token", rule: needs("join", usr.Cluster(usr.RoleJoin)), id: "clusterToken",
			about: "Make a token with which one machine becomes a member of the cluster, once.",
			body:  jsonOption[wire.TokenRequest](), answer: jsonAnswer[wire.JoinToken](http.StatusCreated), audit: auditCalls, handle: d.clusterToken},
		{method: http.MethodPost, path: "/api/cluster/join", rule: public(), id: "clusterJoin",
			about: "Become a member of the cluster: the request proves that it knows a token. 403 says the same whatever is wrong with it.",
			body:  jsonBody[JoinRequest](join.MaxRequest), answer: jsonAnswer[JoinAnswer](http.StatusOK), audit: auditCalls, handle: d.clusterJoin},
		{method: http.MethodGet, path: "/api/cluster/member", rule: looksAround(), id: "listMembers", about: "The members of the cluster that keeps the store.",
			answer: jsonAnswer[wire.MemberList](http.StatusOK), handle: d.listMembers},
		{method: http.MethodDelete, path: "/api/cluster/member/{node}", rule: root(), id: "removeMember",
			about:  "Take a node out of the cluster: its connections are closed, its certificates revoked, and its daemon stops.",
			answer: answer{status: http.StatusNoContent}, audit: auditCalls, handle: d.removeMember},
		{method: http.MethodGet, path: "/api/cluster/status", rule: looksAround(), id: "clusterStatus", about: "How the member of this node is doing.",
			answer: jsonAnswer[wire.ClusterStatus](http.StatusOK), handle: d.clusterStatus},
	}
}

// ownCluster are the members, or why there are none.
func (d *door) ownCluster() (Members, error) {
	if d.Members == nil {
		return nil, hint.With(fmt.Errorf("%w: the store of this node is its own: it is no member of a cluster", ca.ErrConflict),
			"stop the daemon and start it with \"omca daemon run --cluster\"")
	}
	return d.Members, nil
}

func (d *door) clusterToken(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.TokenRequest](c)
	if err != nil {
		return response{}, err
	}
	life := tokenLife
	if want.Duration != "" {
		if life, err = object.ParseDuration(want.Duration); err != nil {
			return response{}, fmt.Errorf("%w: duration: %w", errBadRequest, err)
		}
	}
	if life < time.Second || life > mostTokenLife {
		return response{}, fmt.Errorf("%w: duration %s: expected 1s to 24h", errBadRequest, want.Duration)
	}
	members, err := d.ownCluster()
	if err != nil {
		return response{}, err
	}
	token, err := members.Token(ctx, c.who, life)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("token_id", token.ID))
	return reply(http.StatusCreated, token)
}

// clusterJoin is open to everybody: what proves that the caller may is the request.
func (d *door) clusterJoin(ctx context.Context, c *call) (response, error) {
	if d.Members == nil {
		return response{}, fmt.Errorf("%w: %w", usr.ErrDenied, join.ErrRefused)
	}
	from := d.from(c.request)
	// The token decides, and one commit spends it. The rest is not all in the store.
	answer, err := d.Members.Join(registry.Undecided(ctx), from, c.body)
	if errors.Is(err, join.ErrRefused) {
		d.Log.WarnContext(ctx, "join refused", "address", from.Shown, "request_id", c.id, "error", join.Reason(err))
		return response{}, fmt.Errorf("%w: %w", usr.ErrDenied, join.ErrRefused)
	}
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, media: mediaJSON, body: answer}, nil
}

func (d *door) listMembers(ctx context.Context, _ *call) (response, error) {
	members, err := d.ownCluster()
	if err != nil {
		return response{}, err
	}
	list, err := members.List(ctx)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.MemberList{Kind: "MemberList", Items: append([]wire.ClusterMember{}, list...)})
}

func (d *door) clusterStatus(ctx context.Context, _ *call) (response, error) {
	members, err := d.ownCluster()
	if err != nil {
		return response{}, err
	}
	s, err := members.Status(ctx)
	if err != nil {
		return response{}, err
	}
	s.Alarms, s.Warnings = append([]string{}, s.Alarms...), append([]string{}, s.Warnings...)
	return reply(http.StatusOK, s)
}

func (d *door) removeMember(ctx context.Context, c *call) (response, error) {
	members, err := d.ownCluster()
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("node", c.vars["node"]))
	if err := d.Objects.Confirm(ctx); err != nil {
		return response{}, err
	}
	// From here on the node is out, even if the decision no longer stands.
	if err := members.Remove(registry.Undecided(ctx), c.who, c.vars["node"]); err != nil {
		return response{}, err
	}
	return noContent()
}
