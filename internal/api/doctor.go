package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

const (
	levelError   = "error"
	levelWarning = "warning"
	levelInfo    = "info"

	announced  = 30 * 24 * time.Hour // before a certificate expires that does not renew itself
	backupLife = 30 * 24 * time.Hour // that a backup counts
)

func (d *door) doctorRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/doctor", rule: looksAround(), id: "doctor",
			about:  "What needs a hand, and the command that mends it, as far as the caller may read the objects; at level info, which Go the server was built with. Nothing is changed.",
			answer: jsonAnswer[wire.Diagnosis](http.StatusOK), handle: d.doctor},
	}
}

func (d *door) doctor(ctx context.Context, c *call) (response, error) {
	found := wire.Diagnosis{Now: d.Now().UTC(), Items: []wire.Trouble{}}
	checks := []func(context.Context, usr.Caller) ([]wire.Trouble, error){
		d.checkStore, d.checkSets, d.checkEndings, d.checkNames, d.checkLists, d.checkCluster, d.checkMembers,
	}
	for _, check := range checks {
		all, err := check(ctx, c.who)
		if errors.Is(err, registry.ErrForged) { // checkStore names all such values
			all, err = []wire.Trouble{{Check: "store", Level: levelError, What: "a check did not come to its end: " + err.Error(), Mend: mendStore}}, nil
		}
		if err != nil {
			return response{}, err
		}
		found.Items = append(found.Items, all...)
	}
	slices.SortStableFunc(found.Items, func(a, b wire.Trouble) int { return strings.Compare(a.Level, b.Level) })
	found.Items = append(found.Items, builtWith(runtime.Version()))
	return reply(http.StatusOK, found)
}

// mendStore is what is left to do about a store that holds what omca has not written.
const mendStore = "omca restore FILE --replaces HOME"

// checkStore looks whether the store has what omca wrote last. For that every value is
// read, so it is done for root alone.
func (d *door) checkStore(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	if who.May(usr.Root()) != nil {
		return nil, nil
	}
	var all []wire.Trouble
	audit, err := d.Objects.Audit(ctx)
	if err != nil {
		return nil, err
	}
	if audit.Forged > 0 {
		all = append(all, wire.Trouble{Check: "store", Level: levelError, What: fmt.Sprintf("values in the store that omca has not written there, and that are refused: %d, at %s", audit.Forged, strings.Join(audit.SomeForged, ", ")), Mend: mendStore})
	}
	if audit.Lacking > 0 {
		all = append(all, wire.Trouble{Check: "store", Level: levelError, What: fmt.Sprintf("certificates and tokens of which a part of the record is gone: %d, at %s", audit.Lacking, strings.Join(audit.SomeLacking, ", ")), Mend: mendStore})
	}
	miscounts, err := d.Objects.Miscounts(ctx)
	if err != nil {
		return all, err
	}
	for _, m := range miscounts {
		all = append(all, wire.Trouble{Check: "store", Level: levelError, What: m.String(), Mend: mendStore})
	}
	if err := d.Objects.Refusal(); err != nil {
		all = append(all, wire.Trouble{Check: "store", Level: levelError, What: "nothing is signed, revoked or published: " + err.Error(), Mend: "omca daemon accept-rollback"})
	}
	if d.Unmarked == nil {
		return all, nil
	}
	if err := d.Unmarked(); err != nil {
		all = append(all, wire.Trouble{Check: "store", Level: levelWarning, What: "nothing outside of the home remembers how far the store was: " + err.Error(), Mend: "omca daemon run --mark FILE"})
	}
	return all, nil
}

// builtWith names the Go that the program was built with: faults of crypto/tls and
// crypto/x509 are mended by a build with a later one.
func builtWith(version string) wire.Trouble {
	return wire.Trouble{Check: "go", Level: levelInfo, What: "omca was built with " + version}
}

// readable reports whether who may read the object at path.
func readable(who usr.Caller, path string) bool {
	p, err := object.ParsePath(path)
	return err == nil && usr.CanRead(who, target(p)) == nil
}

// checkSets looks at the certificate set of every object.
func (d *door) checkSets(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	sel, err := object.ParseSelector("*/sec/*,*/usr/*")
	if err != nil {
		return nil, err
	}
	paths, err := d.Objects.List(ctx, sel)
	if err != nil {
		return nil, err
	}
	var all []wire.Trouble
	for _, p := range paths {
		if usr.CanRead(who, target(p)) != nil {
			continue
		}
		s, err := d.certificateState(ctx, who, p)
		switch {
		case errors.Is(err, ca.ErrNotFound): // deleted meanwhile
			continue
		case err != nil:
			all = append(all, wire.Trouble{Check: "pending", Level: levelError, Object: p.String(), What: "its certificate cannot be read", Mend: fmt.Sprintf("omca %s show", p)})
			continue
		}
		if len(s.Pending) > 0 {
			what := "what was imported is not live: " + strings.Join(s.Pending, "; ")
			all = append(all, wire.Trouble{Check: "pending", Level: levelWarning, Object: s.Path, What: what, Mend: fmt.Sprintf("omca %s show", p)})
		}
		orphan, err := d.orphan(ctx, p)
		if err != nil {
			return nil, err
		}
		if orphan && s.State == string(ca.StateValid) {
			level, what := levelError, "its certificate is of a CA that "+s.SignedBy+" is no more, and is not accepted"
			if trusted, err := d.stillTrusted(ctx, p); err != nil {
				return nil, err
			} else if trusted {
				level, what = levelWarning, "its certificate is of a CA that "+s.SignedBy+" is no more: it is accepted until it expires"
			}
			all = append(all, wire.Trouble{Check: "orphan", Level: level, Object: s.Path, What: what, Mend: fmt.Sprintf("omca %s certificate create", p)})
		}
		if s.State == stateRevoked && !d.disabled(ctx, p) {
			all = append(all, wire.Trouble{Check: "revoked", Level: levelError, Object: s.Path, What: "its certificate was revoked", Mend: fmt.Sprintf("omca %s certificate renew --rekey", p)})
		}
	}
	return all, nil
}

// orphan reports whether the certificate of the object at p was signed here, by
// a key that its CA does not have any more.
func (d *door) orphan(ctx context.Context, p object.Path) (bool, error) {
	held, err := d.Authority.Held(ctx, p.String())
	if errors.Is(err, ca.ErrNotFound) || err == nil && (len(held.Chain) == 0 || held.SignedBy == "") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	issuer, err := d.Authority.Held(ctx, held.SignedBy)
	if errors.Is(err, ca.ErrNotFound) || err == nil && len(issuer.Chain) == 0 {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	r, err := d.Authority.Record(ctx, pki.SerialOf(held.Chain[0]))
	if err != nil {
		return false, err
	}
	id, ok, err := d.Authority.AuthorityOf(ctx, r)
	return !ok || id != pki.AuthorityOf(issuer.Chain[0]), err
}

// stillTrusted reports whether the chain of the object at p leads to a CA that is trusted.
func (d *door) stillTrusted(ctx context.Context, p object.Path) (bool, error) {
	held, err := d.Authority.Held(ctx, p.String())
	if err != nil || len(held.Chain) == 0 {
		return false, err
	}
	trusted, err := d.Authority.Trust(ctx)
	if err != nil && len(trusted) == 0 {
		return false, err
	}
	is := make(map[pki.AuthorityID]bool)
	for _, cert := range trusted {
		is[pki.AuthorityOf(cert)] = true
	}
	return slices.ContainsFunc(held.Chain[1:], func(cert *x509.Certificate) bool { return is[pki.AuthorityOf(cert)] }), nil
}

// disabled reports whether p is a user who is not to call.
func (d *door) disabled(ctx context.Context, p object.Path) bool {
	u, err := d.Objects.User(ctx, p.Name)
	return p.Kind == object.KindUsr && err == nil && u.Disabled
}

// checkEndings looks for certificates that nothing renews in time.
func (d *door) checkEndings(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	endings, err := d.Authority.Endings(ctx, announced)
	if err != nil {
		return nil, err
	}
	var all []wire.Trouble
	for _, e := range endings {
		if !readable(who, e.Path) {
			continue
		}
		t := wire.Trouble{Check: "expiring", Level: levelWarning, Object: e.Path, Mend: fmt.Sprintf("omca %s certificate renew", e.Path)}
		if e.Foreign {
			t.Mend = fmt.Sprintf("omca %s signing-request", e.Path) // for the other PKI to sign
		}
		switch days := pki.DaysLeft(e.Certificate, d.Now()); {
		case d.Now().After(e.Certificate.NotAfter):
			t.Level, t.What = levelError, "its certificate has expired"
		case e.Renews:
			t.Level, t.What = levelError, fmt.Sprintf("its certificate expires in %d days and did not renew itself: the log of the daemon says why", days)
		default:
			t.What = fmt.Sprintf("its certificate expires in %d days and does not renew itself", days)
		}
		all = append(all, t)
	}
	return all, nil
}

// checkNames compares what the listener's certificate says with what it is to say.
func (d *door) checkNames(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	path, err := d.Authority.ListenerPath(ctx)
	if err != nil || !readable(who, path) {
		return nil, err
	}
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	held, err := d.Authority.Held(ctx, path)
	if errors.Is(err, ca.ErrNotFound) || err == nil && len(held.Chain) == 0 {
		return []wire.Trouble{{Check: "names", Level: levelError, Object: path, What: "the listener has no certificate", Mend: "omca certificate create"}}, nil
	}
	if err != nil {
		return nil, err
	}
	want, err := d.wantedNames(ctx, p)
	if err != nil {
		return nil, err
	}
	mend := "omca certificate create"
	if held.SignedBy == "" {
		mend = "omca signing-request" // for the other PKI to sign
	}
	var missing []string
	for _, name := range want {
		if held.Chain[0].VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	return []wire.Trouble{{Check: "names", Level: levelWarning, Object: path, What: "the listener's certificate does not say " + strings.Join(missing, ", "), Mend: mend}}, nil
}

// wantedNames are the hosts that the listener at p is to be: of its keywords, and of the cluster.
func (d *door) wantedNames(ctx context.Context, p object.Path) ([]string, error) {
	o, err := d.Objects.Get(ctx, p)
	if err != nil {
		return nil, err
	}
	words, err := o.Config.Strings("alt_names")
	if err != nil {
		return nil, err
	}
	names, err := pki.ParseNames(words)
	if err != nil {
		return nil, err
	}
	cluster, err := d.Objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return nil, err
	}
	want, err := cluster.Config.Strings("cluster.vip")
	if err != nil {
		return nil, err
	}
	want = append(want, names.DNS...)
	for _, ip := range names.IP {
		want = append(want, ip.String())
	}
	slices.Sort(want)
	return slices.DeleteFunc(slices.Compact(want), func(name string) bool { return strings.HasPrefix(name, "*.") }), nil
}

// checkLists looks for revocation lists that are late.
func (d *door) checkLists(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	status, err := d.Status(ctx)
	if err != nil {
		return nil, err
	}
	publish := "omca daemon restart" // what publishes ours
	if status.InProcess {
		publish = "omca daemon run"
	}
	var all []wire.Trouble
	for _, l := range d.listsFor(ctx, who) {
		t := wire.Trouble{Check: "crl", Level: levelError, Object: l.CA, Mend: "omca crl refresh " + l.Source}
		if l.CA != "" {
			t.Mend = publish
		}
		switch {
		case l.State == "fresh" && l.LastError == "":
			continue
		case l.State == "fresh":
			t.Level, t.What = levelWarning, fmt.Sprintf("the revocation list of %s could not be fetched again: %s", l.Source, l.LastError)
		case l.State == "partial":
			t.What = fmt.Sprintf("a revocation list of %s cannot be used%s: %s", l.Source, undetermined(l), l.LastError)
		case l.NextUpdate != nil:
			t.What = fmt.Sprintf("the revocation list of %s%s ended at %s", l.CA, l.Source, l.NextUpdate.Format(time.RFC3339))
		default:
			t.What = fmt.Sprintf("there is no revocation list of %s%s%s: %s", l.CA, l.Source, undetermined(l), l.LastError)
		}
		// The lists of one source may have one trouble.
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all, nil
}

// undetermined names the CAs for which no list is in force because of a source.
func undetermined(l wire.CRL) string {
	if len(l.Undetermined) == 0 {
		return ""
	}
	return fmt.Sprintf(", so that listener.crl_policy decides about the certificates of %s until a list that the CA signed is there", strings.Join(l.Undetermined, "; "))
}

// checkCluster looks at what concerns the cluster as a whole.
func (d *door) checkCluster(ctx context.Context, who usr.Caller) ([]wire.Trouble, error) {
	path := object.ClusterPath()
	if usr.CanRead(who, target(path)) != nil {
		return nil, nil
	}
	cluster, err := d.Objects.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	var all []wire.Trouble
	for keyword, off := range map[string]struct{ value, what string }{
		"listener.crl_policy":        {"soft", "certificates are accepted although the revocation list that speaks for them has ended"},
		"listener.tls_min_version":   {"1.2", "TLS 1.2 is spoken"},
		"listener.rate_limiter_rate": {"0", "nothing limits how often passwords are guessed"},
	} {
		if value, set := cluster.Config.Get(keyword); set && (value == off.value || strings.HasPrefix(value, off.value+"/")) {
			all = append(all, wire.Trouble{Check: "policy", Level: levelWarning, Object: path.String(), What: keyword + " is " + value + ": " + off.what, Mend: "omca cluster config update --unset " + keyword})
		}
	}
	slices.SortFunc(all, func(a, b wire.Trouble) int { return strings.Compare(a.What, b.What) })
	status, err := d.Status(ctx)
	if err != nil {
		return nil, err
	}
	if o := status.OpenID; o != nil && !o.Reachable {
		level := levelWarning
		if !o.Usable {
			level = levelError
		}
		all = append(all, wire.Trouble{Check: "openid", Level: level, Object: path.String(), What: "the OpenID issuer " + o.Issuer + " does not answer: " + toldOf(who, o.LastError), Mend: "omca daemon status"})
	}
	all = append(all, storeTroubles(status.Store)...)
	all = append(all, clockTroubles(status)...)
	all = append(all, panicTroubles(status.Panics)...)
	if status.RestartError != "" {
		all = append(all, wire.Trouble{Check: "restart", Level: levelError, What: "the last restart failed: " + status.RestartError, Mend: "omca daemon restart"})
	}
	return d.checkBackup(ctx, all)
}

// checkMembers looks at the member of the cluster that this node is.
func (d *door) checkMembers(ctx context.Context, _ usr.Caller) ([]wire.Trouble, error) {
	if d.Members == nil {
		return nil, nil
	}
	s, err := d.Members.Status(ctx)
	if err != nil {
		return nil, err
	}
	var all []wire.Trouble
	for _, what := range s.Warnings {
		all = append(all, wire.Trouble{Check: "member", Level: levelWarning, What: what, Mend: "omca cluster status"})
	}
	for _, alarm := range s.Alarms {
		all = append(all, wire.Trouble{Check: "member", Level: levelError, What: "etcd has raised the alarm " + alarm, Mend: "omca cluster status"})
	}
	return all, nil
}

// storeTroubles looks at the store that nodes share.
func storeTroubles(s *wire.StoreStatus) []wire.Trouble {
	const mend = "omca daemon status"
	switch {
	case s == nil:
		return nil
	case s.Ended:
		return []wire.Trouble{{Check: "store", Level: levelError, What: fmt.Sprintf("the store %s was heard of last at %s: only the unix socket is served", s.Name, s.Word.Format(time.RFC3339)), Mend: mend}}
	case s.Away != "":
		return []wire.Trouble{{Check: "store", Level: levelError, What: fmt.Sprintf("the store %s is away, nothing can be changed, and from %s on only the unix socket is served: %s", s.Name, s.Until.Format(time.RFC3339), s.Away), Mend: mend}}
	case s.Chosen == "":
		return []wire.Trouble{{Check: "store", Level: levelWarning, What: "no node renews certificates and numbers revocation lists at the moment", Mend: mend}}
	}
	return nil
}

// clockTroubles looks for nodes whose clock is not that of the others.
func clockTroubles(s wire.Status) []wire.Trouble {
	var all []wire.Trouble
	for _, c := range clocks(s) {
		if !c.Off {
			continue
		}
		what := fmt.Sprintf("the clock of node %s is %s the clocks of the other nodes: until it is right the node renews nothing, numbers no revocation list and sweeps nothing, "+
			"and its signatures have wrong dates", c.Node, apart(c))
		all = append(all, wire.Trouble{Check: "clock", Level: levelError, What: what, Mend: "timedatectl set-ntp true"})
	}
	return all
}

// clocks are those of all nodes that are known, with that of this one.
func clocks(s wire.Status) []wire.NodeClock {
	if s.Clock == nil {
		return nil
	}
	return append([]wire.NodeClock{{Node: s.Node, Offset: s.Clock.Offset, Off: s.Clock.Off}}, s.Clock.Others...)
}

// apart is the offset in words.
func apart(c wire.NodeClock) string {
	by := time.Duration(c.Offset) * time.Second
	if by < 0 {
		return (-by).String() + " behind"
	}
	return by.String() + " ahead of"
}

// panicTroubles looks for work beside the requests that panicked.
func panicTroubles(panics []wire.TaskPanics) []wire.Trouble {
	var all []wire.Trouble
	for _, p := range panics {
		times := fmt.Sprintf("%d times", p.Count)
		if p.Count == 1 {
			times = "once"
		}
		what := fmt.Sprintf("the task %q of the daemon panicked %s since the start, at %s last, and began again: this is a fault of omca; please report it with the lines of the log",
			p.Task, times, p.Last.Format(time.RFC3339))
		all = append(all, wire.Trouble{Check: "panic", Level: levelWarning, What: what, Mend: "omca daemon restart"})
	}
	return all
}

func (d *door) checkBackup(ctx context.Context, all []wire.Trouble) ([]wire.Trouble, error) {
	last, err := d.Objects.LastBackup(ctx)
	if err != nil {
		return nil, err
	}
	t := wire.Trouble{Check: "backup", Level: levelWarning, What: "no backup was ever made", Mend: "omca backup FILE"}
	switch age := d.Now().Sub(last); {
	case last.IsZero():
	case age > backupLife:
		t.What = fmt.Sprintf("the last backup is %d days old", int(age.Hours()/24))
	default:
		return all, nil
	}
	return append(all, t), nil
}
