package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/store"
	"omca/pki"
	"omca/usr"
)

// Holder implements [ca.Store].
func (s *Store) Holder(ctx context.Context, path string) (ca.Holder, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return ca.Holder{}, err
	}
	if !p.Kind.Sealed() {
		return ca.Holder{}, fmt.Errorf("%w: %s is a %s: certificates belong to objects of kind sec and usr", ca.ErrInvalid, p, p.Kind)
	}
	if st := stagedAt(ctx, p); st != nil {
		h, err := holderOf(p, st.config, st.revision)
		h.Created = st.created
		return h, err
	}
	e, err := s.entry(ctx, p)
	if err != nil {
		return ca.Holder{}, err
	}
	h, err := holderOf(p, e.Config, e.rev)
	if err != nil {
		return ca.Holder{}, err
	}
	h.Created = e.Created
	return h, s.readSet(ctx, p, e.Keys, &h)
}

// Created implements [ca.Store].
func (s *Store) Created(ctx context.Context, path string) (time.Time, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return time.Time{}, err
	}
	if st := stagedAt(ctx, p); st != nil {
		return st.created, nil
	}
	e, err := s.entry(ctx, p)
	if err != nil {
		return time.Time{}, err
	}
	return e.Created, nil
}

// holderOf is the holder at p without what its keys hold.
func holderOf(p object.Path, c object.Config, revision int64) (ca.Holder, error) {
	h, err := describeHolder(c)
	if err != nil {
		return ca.Holder{}, fmt.Errorf("%s: %w", p, err)
	}
	h.Path, h.Kind, h.Name, h.Revision = p.String(), string(p.Kind), p.Name, revision
	return h, nil
}

// readSet fills in what the keys of the object hold of a certificate set.
func (s *Store) readSet(ctx context.Context, p object.Path, keys []KeyInfo, h *ca.Holder) error {
	for _, k := range keys {
		part, isWaiting := ca.WaitingKey(k.Name)
		number, isFormer := ca.FormerKey(k.Name)
		if !isWaiting && !isFormer && !ca.Imports(k.Name) {
			continue
		}
		value, err := s.value(ctx, p, k.Name)
		if err != nil {
			return err
		}
		switch {
		case isWaiting:
			if h.Pending == nil {
				h.Pending = make(map[string][]byte)
			}
			h.Pending[part] = value
		case isFormer:
			if h.Former == nil {
				h.Former = make(map[int][]byte)
			}
			h.Former[number] = value
		case k.Name == ca.KeyPrivate:
			h.PrivateKey, h.KeyMade = value, k.Made
		case k.Name == ca.KeyCertificate:
			h.Certificate = value
		case k.Name == ca.KeyChain:
			h.Chain = value
		}
	}
	return nil
}

// describeHolder reads from the keywords what a certificate is to be like.
func describeHolder(c object.Config) (ca.Holder, error) {
	r := reader{c: c}
	h := ca.Holder{
		Profile: r.text("profile"),
		Subject: pki.Subject{
			CommonName: r.text("cn"), Country: r.text("c"), Province: r.text("st"), Locality: r.text("l"),
			Organization: r.text("o"), OrganizationalUnit: r.text("ou"), Email: r.text("email"),
		},
		IssuerPath: r.text("ca"),
		KeyType:    pki.KeyType(r.text("key_type")),
		Validity:   r.duration("validity"),
	}
	_, h.ValiditySet = c.Get("validity")
	if c.Path().Kind == object.KindUsr {
		h.MayAsk, h.Disabled = r.words("names"), r.flag("disabled")
		h.MaxValidity = r.duration("max_validity")
	} else {
		h.AllowNames, h.DenyNames = r.words("allow_names"), r.words("deny_names")
	}
	names, err := pki.ParseNames(r.words("alt_names"))
	h.Names = names
	return h, errors.Join(r.err, err)
}

// reader reads keywords and keeps the first error.
type reader struct {
	c   object.Config
	err error
}

func read[T any](r *reader, get func(string) (T, error), keyword string) T {
	v, err := get(keyword)
	if err != nil && r.err == nil {
		r.err = err
	}
	return v
}

func (r *reader) text(k string) string            { return read(r, r.c.Eval, k) }
func (r *reader) words(k string) []string         { return read(r, r.c.Strings, k) }
func (r *reader) flag(k string) bool              { return read(r, r.c.Bool, k) }
func (r *reader) duration(k string) time.Duration { return read(r, r.c.Duration, k) }

// Holders implements [ca.Store].
func (s *Store) Holders(ctx context.Context) ([]string, error) {
	sel, err := object.ParseSelector("*/sec/*")
	if err != nil {
		return nil, err
	}
	paths, err := s.List(ctx, sel)
	if err != nil {
		return nil, err
	}
	var holders []string
	for _, p := range paths {
		e, err := s.look(ctx, p)
		if err != nil {
			return nil, err
		}
		if e.head != nil && e.has(ca.KeyChain) { // else it was deleted meanwhile, or has none
			holders = append(holders, p.String())
		}
	}
	return holders, nil
}

// Commit implements [ca.Store].
func (s *Store) Commit(ctx context.Context, c ca.Change) error {
	var records store.Tx
	for _, r := range c.Records {
		if err := putRecord(&records, r); err != nil {
			return err
		}
	}
	for _, key := range c.Keys {
		records.Expect = append(records.Expect, store.Expect{Key: blockedKey(key)})
	}
	if c.Authority != nil {
		if err := s.putAuthority(ctx, &records, *c.Authority, c.AuthorityKey); err != nil {
			return err
		}
	}
	for _, e := range c.Expect {
		p, err := object.ParsePath(e.Path)
		if err != nil {
			return err
		}
		records.Expect = append(records.Expect, store.Expect{Key: prefixObject + p.Key(), Rev: e.Revision})
	}
	if err := s.commitChange(ctx, c, records); err != nil {
		return err
	}
	if !s.shared { // else the watch counts
		s.records.Add(int64(len(c.Records)))
	}
	return nil
}

func (s *Store) commitChange(ctx context.Context, c ca.Change, records store.Tx) error {
	if c.Path == "" {
		return s.commit(ctx, records)
	}
	p, err := object.ParsePath(c.Path)
	if err != nil {
		return err
	}
	fill := func(h *head, tx *store.Tx) error {
		tx.Expect = append(tx.Expect, records.Expect...)
		tx.Puts = append(tx.Puts, records.Puts...)
		return s.putSet(p, h, tx, c)
	}
	if st := stagedAt(ctx, p); st != nil {
		return s.remake(ctx, *st, fill)
	}
	return s.change(ctx, p, c.Revision, fill)
}

// putSet adds the keys of a change to tx, in an order that does not depend on chance.
func (s *Store) putSet(p object.Path, h *head, tx *store.Tx, c ca.Change) error {
	for _, name := range c.Remove {
		h.drop(name)
		tx.Deletes = append(tx.Deletes, valueKey(p, name))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Put)) {
		info := KeyInfo{Name: name, Made: name == ca.KeyPrivate && c.KeyMade}
		if err := s.putKey(p, h, tx, info, c.Put[name]); err != nil {
			return err
		}
	}
	return nil
}

// Cluster implements [ca.Store].
func (s *Store) Cluster(ctx context.Context) (ca.Cluster, error) {
	e, err := s.entry(ctx, object.ClusterPath())
	if err != nil {
		return ca.Cluster{}, err
	}
	return once(s, &e.cluster, func() (ca.Cluster, error) {
		name, _ := e.Config.Get("cluster.name")
		trusted, err := e.Config.Strings("cluster.ca")
		if err != nil {
			return ca.Cluster{}, err
		}
		base, err := baseURL(e.Config)
		if err != nil {
			return ca.Cluster{}, err
		}
		bounds, err := boundsOf(e.Config)
		return ca.Cluster{Name: name, Trusted: trusted, BaseURL: base, Bounds: bounds}, err
	})
}

// boundsOf reads what the cluster permits callers without root.
func boundsOf(c object.Config) (ca.Bounds, error) {
	r := reader{c: c}
	b := ca.Bounds{MinValidity: r.duration("cluster.min_validity"), Certificates: read(&r, c.Int, "cluster.max_certificates")}
	b.MaxValidity = read(&r, c.Lives, "cluster.max_validity")
	return b, r.err
}

// baseURL is where the plain HTTP listener is found from elsewhere: at the host
// that listener.http_addr names, else at the first of cluster.vip, else nowhere.
func baseURL(c object.Config) (string, error) {
	address, err := c.Eval("listener.http_addr")
	if err != nil || address == "" {
		return "", err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		vip, err := c.Strings("cluster.vip")
		if err != nil || len(vip) == 0 {
			return "", err
		}
		host = vip[0]
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// once returns what is kept, or else parses it and keeps it. Every request
// asks, and keywords are text.
func once[T any](s *Store, kept **T, parse func() (T, error)) (T, error) {
	s.mu.Lock()
	known := *kept
	s.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	v, err := parse()
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*kept = &v
	return v, nil
}

// parseUser reads from the keywords of a usr who may call and what they may do.
func parseUser(name string, c object.Config) (User, error) {
	r := reader{c: c}
	u := User{Name: name, Roles: r.words("roles"), Disabled: r.flag("disabled")}
	grants, err := usr.ParseGrants(r.text("grant"))
	u.Grants = grants
	u.AllowedIPs = read(&r, c.Networks, "allowed_ips")
	return u, errors.Join(r.err, err)
}
