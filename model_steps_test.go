package omca

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// A step is one thing that happens. Its numbers choose among what is there by then, so
// that a sequence means something with steps left out.
type step struct {
	do      string
	who     int // see modelWorld.caller
	a, b, c int
}

// A kind is one kind of step: how often it is drawn, and what else may not be as it was
// after it.
type kind struct {
	weight  int
	touches touch
	run     func(*modelWorld, step) error
}

// A touch is what a step may have changed beside the callers.
type touch int

const (
	nothing touch = iota
	trust         // which CAs client certificates may chain to
	all           // that, what is revoked, CAs, keys, and the clock
)

func kinds() map[string]kind {
	return map[string]kind{
		"user":    {6, nothing, (*modelWorld).stepUser},
		"grant":   {2, nothing, (*modelWorld).stepGrant},
		"disable": {2, nothing, (*modelWorld).stepDisable},
		"leave":   {4, all, (*modelWorld).stepLeave},
		"ca":      {4, all, (*modelWorld).stepCA},
		"renew":   {5, all, (*modelWorld).stepRenew},
		"lose":    {5, all, (*modelWorld).stepLose},
		"import":  {4, all, (*modelWorld).stepImport},
		"back":    {3, all, (*modelWorld).stepRollback},
		"trust":   {3, trust, (*modelWorld).stepTrust},
		"keep":    {3, trust, (*modelWorld).stepKeep},
		"sign":    {4, nothing, (*modelWorld).stepSign},
		"revoke":  {14, all, (*modelWorld).stepRevoke},
		"token":   {4, nothing, (*modelWorld).stepToken},
		"untoken": {3, nothing, (*modelWorld).stepUntoken},
		"sweep":   {3, nothing, (*modelWorld).stepSweep},
		"sec":     {2, nothing, (*modelWorld).stepSec},
		"read":    {6, nothing, (*modelWorld).stepRead},
		"upkeep":  {3, nothing, (*modelWorld).stepUpkeep},
		"pass":    {5, all, (*modelWorld).stepPass},
		"skew":    {6, all, (*modelWorld).stepSkew},
		"restart": {2, all, (*modelWorld).stepRestart},
		"backup":  {2, nothing, (*modelWorld).stepBackup},
		"restore": {2, all, (*modelWorld).stepRestore},
	}
}

// draw draws a sequence of n steps.
func draw(seed uint64, n int) []step {
	all := kinds()
	var names []string
	for name, k := range all {
		names = append(names, slices.Repeat([]string{name}, k.weight)...)
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(seed, 0))
	steps := make([]step, n)
	for i := range steps {
		const most = 1 << 16
		steps[i] = step{names[r.IntN(len(names))], r.IntN(most), r.IntN(most), r.IntN(most), r.IntN(most)}
	}
	return steps
}

// do takes a step, and checks what has to hold after it.
func (w *modelWorld) do(s step) error {
	w.note("%s %d", s.do, s.who%4)
	w.at = w.at.Add(time.Second) // each takes a moment
	w.time.Add(int64(time.Second))
	k, before := kinds()[s.do], w.db.count()
	if err := k.run(w, s); err != nil {
		return err
	}
	if k.touches != all && w.db.count() == before {
		return nil // refused: all is as it was
	}
	if err := w.absorb(); err != nil {
		return err
	}
	if k.touches >= trust {
		w.trust = nil
	}
	if k.touches == all {
		if err := errors.Join(w.lookAtLists(w.ctx), w.holdLists()); err != nil {
			return err
		}
	}
	return w.holdSome(s.a + s.b + s.c)
}

func modelUsers() []string { return []string{"alice", "bob", "carol"} }

func modelRights() []right {
	return []right{{role: "root"}, {"admin", "ns1"}, {"guest", "ns1"}, {"admin", "ns2"}}
}

// caPaths are the CAs of the world; ca-twin has the name of ca-sub.
func caPaths() []string {
	return []string{"system/sec/ca-sub", "system/sec/ca-low", "ns1/sec/ca", "system/sec/ca-twin", "system/sec/corp", ca.PathCA}
}

func pick[T any](all []T, n int) T { return all[n%len(all)] }

const modelObject = "/api/object/path/"

// stepUser makes a user, changes it, or makes it anew.
func (w *modelWorld) stepUser(s step) error {
	name, to := pick(modelUsers(), s.a), pick(modelRights(), s.b)
	keywords := []string{"grant=" + to.String(), "validity=" + pick([]string{"1y", "40d", "3d"}, s.c)}
	if n := s.c / 3 % 8; n < 5 {
		keywords = append(keywords, "ca="+caPaths()[n])
	}
	force := s.c/24%2 == 1
	status, _, err := w.call(w.caller(0), "POST", modelObject+"system/usr/"+name, map[string]any{"keywords": keywords, "force": force})
	w.note("  user %s %q force %t: %d", name, keywords, force, status)
	if err != nil {
		return err
	}
	u, exists := w.m.users[name]
	switch {
	case status == 201:
		w.lives++
		w.end(name)
		w.m.users[name] = person{life: w.lives, right: to}
	case status == 200 && exists:
		u.right = to
		w.m.users[name] = u
	}
	return nil
}

// end ends the tokens of a user.
func (w *modelWorld) end(name string) {
	for i := range w.m.tokens {
		if g := &w.m.tokens[i]; g.user == name {
			g.dead = true
		}
	}
}

// stepGrant changes what a user may, or has somebody try.
func (w *modelWorld) stepGrant(s step) error {
	name, to := pick(modelUsers(), s.a), pick(modelRights(), s.b)
	done, _, err := w.asks(w.caller(s.who), right{role: "root"}, "", "PATCH", modelObject+"system/usr/"+name+"/config?set="+url.QueryEscape("grant="+to.String()), nil)
	if u, exists := w.m.users[name]; done && exists {
		u.right = to
		w.m.users[name] = u
	}
	return err
}

// stepDisable disables a user, or enables it again.
func (w *modelWorld) stepDisable(s step) error {
	name, change := pick(modelUsers(), s.a), pick([]string{"set=disabled%3Dtrue", "unset=disabled"}, s.b)
	done, _, err := w.asks(w.caller(s.who), right{role: "root"}, "", "PATCH", modelObject+"system/usr/"+name+"/config?"+change, nil)
	if u, exists := w.m.users[name]; done && exists {
		u.disabled = change != "unset=disabled"
		w.m.users[name] = u
	}
	return err
}

// stepLeave deletes a user, with its certificates revoked or not.
func (w *modelWorld) stepLeave(s step) error {
	name, revoke := pick(modelUsers(), s.a), s.b%3 > 0
	done, _, err := w.asks(w.caller(s.who), right{role: "root"}, "", "POST", fmt.Sprintf("%ssystem/usr/%s/action/delete?revoke=%t", modelObject, name, revoke), nil)
	if !done {
		return err
	}
	delete(w.m.users, name)
	w.end(name)
	for i := range w.m.certs {
		if c := &w.m.certs[i]; revoke && c.owner == "system/usr/"+name && !c.lost {
			w.revoked(i)
		}
	}
	return err
}

// revoked notes in the model that the certificate i is.
func (w *modelWorld) revoked(i int) {
	w.m.certs[i].revoked = true
	w.everRevoked[pki.SerialOf(w.m.certs[i].cert)] = true
}

// stepCA makes a CA, or makes it anew.
func (w *modelWorld) stepCA(s step) error {
	n := s.a % 4
	path := caPaths()[n]
	keywords := []string{"profile=ca", "cn=" + []string{"Sub CA", "Low CA", "Namespace CA", "Sub CA"}[n], "ca=" + []string{ca.PathCA, "system/sec/ca-sub", ca.PathCA, ca.PathCA}[n]}
	root := w.caller(0)
	done, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path, map[string]any{"keywords": keywords, "force": s.b%2 == 1})
	if err != nil || !done {
		return err
	}
	_, _, err = w.asks(root, right{role: "root"}, "", "POST", modelObject+path+"/certificate", map[string]any{"replace_external": true})
	return err
}

// stepRenew renews the certificate of a CA, a user or a server.
func (w *modelWorld) stepRenew(s step) error {
	paths := append(caPaths(), "system/usr/alice", "system/usr/bob", "system/usr/carol", ca.PathListener)
	path, revoke := pick(paths, s.a), s.b%3 == 1 && s.a%len(paths) > 5
	held := -1
	for i, c := range w.m.certs {
		if c.owner == path && !c.lost && !c.request {
			held = i
		}
	}
	done, _, err := w.asks(w.caller(0), right{role: "root"}, "", "POST", modelObject+path+"/certificate/renew",
		map[string]any{"rekey": s.b/3%2 == 1, "revoke": revoke, "replace_external": true})
	if done && revoke {
		w.revoked(held)
	}
	return err
}

// stepLose has a CA lose its object, its chain or its key.
func (w *modelWorld) stepLose(s step) error {
	path := caPaths()[s.a%5]
	who, need := w.caller(0), right{role: "root"} // a CA is root's, in any namespace
	if s.b%4 == 3 {
		who = w.caller(s.who)
	}
	var err error
	switch how := s.b % 4; how {
	case 0, 3:
		_, _, err = w.asks(who, need, "", "POST", modelObject+path+"/action/delete", nil)
	case 1:
		_, _, err = w.asks(who, need, "", "DELETE", modelObject+path+"/data/key?name="+pick([]string{ca.KeyChain, ca.KeyPrivate}, s.c), nil)
	case 2:
		err = w.destroy(path)
	}
	return err
}

// destroy deletes the object at path, if it is there, with the keys of the CAs that it
// holds or held.
func (w *modelWorld) destroy(path string) error {
	ids, err := w.s.authority.DestroyableKeys(w.ctx, path)
	if err != nil {
		return err
	}
	done, _, err := w.asks(w.caller(0), right{role: "root"}, "", "POST", modelObject+path+"/action/delete?destroy_key=true", nil)
	if !done {
		return err
	}
	for _, one := range w.authorities {
		if slices.Contains(ids, pki.AuthorityOf(one.cert)) {
			w.note("  the key of %s is destroyed", one.id.Short())
			delete(w.m.keys, one.id)
		}
	}
	return nil
}

// stepImport imports a CA of others over one of ours, or over none.
func (w *modelWorld) stepImport(s step) error {
	f, path, root := pick(w.foreigners, s.a), pick([]string{"system/sec/corp", "system/sec/corp", "system/sec/ca-sub", "ns1/sec/ca", ca.PathCA}, s.b), w.caller(0)
	if _, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path, map[string]any{"keywords": []string{"profile=ca"}}); err != nil {
		return err
	}
	key, err := pki.EncodePrivateKey(f.key)
	if err != nil {
		return err
	}
	first, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path+"/data/key?name="+ca.KeyPrivate, string(key))
	if err != nil {
		return err
	}
	second, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path+"/data/key?name="+ca.KeyChain, string(pki.EncodeCertificates(f.cert)))
	if first && second {
		w.note("  %s is now %s", path, idOf(f.cert).Short())
		w.m.keys[idOf(f.cert)] = true
	}
	return err
}

// stepRollback puts the set that a CA had before back in its place: of the first CA that
// had one.
func (w *modelWorld) stepRollback(s step) error {
	var path string
	var text []byte
	for n, done := 0, false; !done; n++ {
		if n == len(caPaths()) {
			return nil
		}
		var err error
		path = pick(caPaths(), s.a+n)
		if done, text, err = w.asks(w.caller(s.who/3*4), right{role: "root"}, "", "POST", modelObject+path+"/certificate/rollback", "{}"); err != nil {
			return err
		}
	}
	var back struct{ Serial pki.Serial }
	if err := json.Unmarshal(text, &back); err != nil {
		return err
	}
	for _, one := range w.authorities {
		if pki.SerialOf(one.cert) == back.Serial {
			w.note("  %s is %s again", path, one.id.Short())
			w.m.keys[one.id] = true
		}
	}
	return nil
}

// stepTrust trusts a CA in addition to the cluster's, or ends that.
func (w *modelWorld) stepTrust(s step) error {
	change := "cluster.ca" + pick([]string{"+=", "-="}, s.a) + pick([]string{"system/sec/corp", "system/sec/ca-sub", "system/sec/kept", "ns1/sec/ca"}, s.b)
	w.note("  %s", change)
	_, _, err := w.asks(w.caller(s.who), right{role: "root"}, "", "PATCH", "/api/cluster/config?set="+url.QueryEscape(change), nil)
	return err
}

// stepKeep trusts a CA by its certificate alone, whatever became of it.
func (w *modelWorld) stepKeep(s step) error {
	const path = "system/sec/kept"
	one, root := pick(w.authorities, s.a), w.caller(0)
	if _, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path, map[string]any{"keywords": []string{"profile=ca"}, "force": true}); err != nil {
		return err
	}
	_, _, err := w.asks(root, right{role: "root"}, "", "POST", modelObject+path+"/data/key?name="+ca.KeyChain, string(pki.EncodeCertificates(one.cert)))
	if err != nil {
		return err
	}
	w.note("  %s is trusted", one.id.Short())
	_, _, err = w.asks(root, right{role: "root"}, "", "PATCH", "/api/cluster/config?set="+url.QueryEscape("cluster.ca+="+path), nil)
	return err
}

// stepSign signs a request of a user.
func (w *modelWorld) stepSign(s step) error {
	name := pick(modelUsers(), s.a)
	csr, err := pki.CreateSigningRequest(pick(w.requests[name], s.b), pki.Subject{CommonName: name}, pki.Names{})
	if err != nil {
		return err
	}
	before := len(w.m.certs)
	_, _, err = w.asks(w.caller(s.who), right{role: "root"}, name, "POST", "/api/certificate",
		map[string]any{"csr": string(csr), "profile": "usr", "owner": "system/usr/" + name, "validity": pick([]string{"90d", "5d"}, s.c)})
	if err == nil {
		err = w.absorb()
	}
	for i := before; i < len(w.m.certs); i++ {
		w.m.certs[i].request = true
	}
	return err
}

// stepRevoke revokes a certificate by its serial number. Now and then the server is
// restarted before there is a list with it.
func (w *modelWorld) stepRevoke(s step) error {
	i := s.a % len(w.m.certs)
	if s.a%3 == 0 { // the newest are of more interest
		i = len(w.m.certs) - 1 - s.b%min(5, len(w.m.certs))
	}
	for n := 0; n < len(w.m.certs) && s.a%5 > 0 && !w.m.certs[i].revocable(); n++ {
		i = (i + 1) % len(w.m.certs)
	}
	c := w.m.certs[i]
	reason := pick([]crl.Reason{crl.KeyCompromise, crl.Superseded, crl.CessationOfOperation, crl.Unspecified}, s.c)
	need, self := right{role: "root"}, ""
	switch owner := strings.SplitN(c.owner, "/", 3); {
	case c.profile == ca.ProfileUser:
		if u := w.m.users[owner[2]]; u.life == c.life { // of an earlier user it is root's
			self = owner[2]
		}
	case len(owner) == 3 && owner[0] != "system" && c.profile != ca.ProfileCA:
		need = right{"admin", owner[0]}
	}
	who := w.caller(s.who)
	w.note("  %s of %s", reason, w.describe(i))
	done, _, err := w.asks(who, need, self, "POST", "/api/certificate/"+string(pki.SerialOf(c.cert))+"/revoke", map[string]any{"reason": reason.String()})
	if !done {
		return err
	}
	w.takenBack(i, reason)
	if reason == crl.KeyCompromise {
		w.m.blocked[c.key] = true
		for n, other := range w.m.certs { // all that is on record over the key
			if other.key == c.key && !other.root && !other.lost && !other.foreign {
				w.takenBack(n, reason)
			}
		}
	}
	if s.b/8%8 == 0 {
		w.note("  and a restart")
		return w.stepRestart(s)
	}
	return nil
}

// takenBack notes in the model that the certificate i was revoked, with the tokens of the
// users that it, or a certificate below it, speaks for.
func (w *modelWorld) takenBack(i int, reason crl.Reason) {
	w.revoked(i)
	if reason == crl.Superseded {
		return
	}
	ended, below := []signed{w.m.certs[i]}, map[caID]bool{}
	for n := 0; n < len(ended); n++ {
		c := ended[n]
		if c.profile == ca.ProfileCA && !below[idOf(c.cert)] {
			below[idOf(c.cert)] = true
			for _, one := range w.m.certs {
				if one.issuer == idOf(c.cert) && !one.root && !one.lost && !one.foreign {
					ended = append(ended, one)
				}
			}
		}
		for n := range w.m.tokens {
			if g := &w.m.tokens[n]; c.profile == ca.ProfileUser && g.user == c.user && g.life == c.life {
				g.dead = true
			}
		}
	}
}

// stepToken issues a token.
func (w *modelWorld) stepToken(s step) error {
	name := pick(modelUsers(), s.a)
	life := pick([]time.Duration{10 * time.Minute, 23 * time.Hour}, s.b)
	done, text, err := w.asks(w.caller(s.who), right{role: "root"}, name, "POST", "/api/auth/token?subject="+name+"&access_duration="+life.String(), nil)
	if !done {
		return err
	}
	var pair struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(pair.AccessToken, ".")[1])
	if err != nil {
		return err
	}
	var c struct {
		ID      string `json:"jti"`
		Expires int64  `json:"exp"`
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return err
	}
	u := w.m.users[name]
	w.m.tokens = append(w.m.tokens, given{id: c.ID, text: pair.AccessToken, user: name, life: u.life, right: u.right, expires: time.Unix(c.Expires, 0)})
	w.note("  %s", w.describeToken(len(w.m.tokens)-1))
	return nil
}

// stepUntoken revokes a token, all of a user, or all.
func (w *modelWorld) stepUntoken(s step) error {
	if len(w.m.tokens) == 0 {
		return w.stepToken(s)
	}
	g := &w.m.tokens[s.a%len(w.m.tokens)]
	who, need := w.caller(s.who), right{role: "root"}
	who.user += who.subject // a token is enough to take tokens of its user back
	switch s.b % 4 {
	case 0:
		done, _, err := w.asks(who, need, g.user, "POST", "/api/token/revoke?subject="+g.user, nil)
		if done {
			w.end(g.user)
		}
		return err
	case 1:
		done, _, err := w.asks(w.caller(0), need, "", "POST", "/api/token/rotate-key?overlap=false", nil)
		for i := range w.m.tokens {
			if g := &w.m.tokens[i]; done && !g.dead {
				g.dead, g.rotated = true, true
			}
		}
		return err
	}
	w.note("  %s", w.describeToken(s.a%len(w.m.tokens)))
	done, _, err := w.asks(who, need, g.user, "POST", "/api/token/"+g.id+"/revoke", nil)
	g.dead = g.dead || done
	return err
}

// stepSweep forgets tokens that expired, by the clock of the server, which is ahead for
// that moment every other time: they are refused from then on, whatever it shows later.
func (w *modelWorld) stepSweep(s step) error {
	if shows := w.time.Load(); s.a%2 == 0 {
		w.time.Store(w.at.Add(3 * day).UnixNano())
		defer w.time.Store(shows)
	}
	forgotten, err := w.s.tokens.Sweep(w.ctx, 1000)
	w.note("  %d tokens are forgotten", forgotten)
	for n := range w.m.tokens {
		if g := &w.m.tokens[n]; g.expires.Before(w.now().Add(-day)) {
			g.dead = true
		}
	}
	return err
}

// stepSec makes a server's certificate in a namespace.
func (w *modelWorld) stepSec(s step) error {
	namespace := pick([]string{"ns1", "ns2"}, s.a)
	path := modelObject + namespace + "/sec/web"
	if _, _, err := w.asks(w.caller(s.who), right{"admin", namespace}, "", "POST", path, map[string]any{"keywords": []string{"cn=web.example.org"}}); err != nil {
		return err
	}
	_, _, err := w.asks(w.caller(s.who), right{"admin", namespace}, "", "POST", path+"/certificate", "{}")
	return err
}

// stepRead has somebody try what not all may.
func (w *modelWorld) stepRead(s step) error {
	root, name := right{role: "root"}, pick(modelUsers(), s.b)
	tries := []struct {
		method, target string
		need           right
		self           string
	}{
		{"GET", modelObject + "ns1/sec/web/config", right{"guest", "ns1"}, ""},
		{"GET", modelObject + "ns2/sec/web/config", right{"guest", "ns2"}, ""},
		{"GET", modelObject + "ns1/sec/web/data/key?name=certificate", right{"admin", "ns1"}, ""},
		{"GET", modelObject + "ns1/sec/web/data/key?name=private_key", root, ""},
		{"GET", modelObject + "ns1/sec/ca/data/key?name=private_key", root, ""},
		{"GET", modelObject + "system/sec/ca/data/key?name=private_key", root, ""},
		{"GET", modelObject + "system/usr/" + name + "/data/key?name=private_key", root, name},
		{"GET", modelObject + "system/usr/" + name + "/config", root, name},
		{"PATCH", modelObject + "ns1/sec/web/config?set=comment%3Dx", right{"admin", "ns1"}, ""},
		{"PATCH", modelObject + "system/sec/ca/config?set=comment%3Dx", root, ""},
		{"PATCH", "/api/cluster/config?set=comment%3Dx", root, ""},
		{"POST", modelObject + "system/sec/ca/certificate/rollback", root, ""},
		{"POST", modelObject + "ns3/sec/web", root, ""},
	}
	try := pick(tries, s.a)
	if who := w.caller(s.who); who.name != "root" {
		_, _, err := w.asks(who, try.need, try.self, try.method, try.target, nil)
		return err
	}
	return nil
}

// stepUpkeep does what the daemon does by itself.
func (w *modelWorld) stepUpkeep(step) error {
	before := len(w.m.certs)
	if _, err := w.s.authority.RenewDue(w.ctx); err != nil {
		w.note("  not all is renewed: %v", err) // a CA is gone, or was revoked, or is not valid yet
	}
	if err := w.absorb(); err != nil {
		return err
	}
	for _, c := range w.m.certs[before:] {
		for i, was := range slices.Backward(w.m.certs[:before]) {
			if was.owner != c.owner || was.lost || c.profile == ca.ProfileOCSP {
				continue
			}
			if was.revoked {
				return fmt.Errorf("revoked, and renewed by itself: %s", w.describe(i))
			}
			break
		}
	}
	return nil
}

// stepPass lets time pass.
func (w *modelWorld) stepPass(s step) error {
	d := pick([]time.Duration{time.Second, time.Hour, 25 * time.Hour, 4 * day, 9 * day, 45 * day}, s.a)
	w.at = w.at.Add(d)
	w.time.Add(int64(d))
	w.note("  %s passes", d)
	return nil
}

const day = 24 * time.Hour

// stepSkew sets the clock of the server so far from the true time.
func (w *modelWorld) stepSkew(s step) error {
	d := pick([]time.Duration{0, 0, 0, time.Hour, -time.Hour, 2 * day, -2 * day, 30 * day, -30 * day, 500 * day, -500 * day, 12 * 365 * day}, s.a)
	w.time.Store(w.at.Add(d).UnixNano())
	w.note("  the clock is %s off", d)
	return nil
}

// stepRestart restarts the server.
func (w *modelWorld) stepRestart(step) error {
	if err := w.s.Close(); err != nil {
		return err
	}
	return w.start()
}

// stepBackup makes a backup.
func (w *modelWorld) stepBackup(step) error { return w.backup() }

// stepRestore restores one, with the home that it replaces or without. Without, it is one
// that was made since the last restore: the numbers of lists leap as far as they did then.
func (w *modelWorld) stepRestore(s step) error {
	if len(w.backups) == 0 {
		return w.backup()
	}
	b, knows := &w.backups[s.a%len(w.backups)], s.b%2 == 1
	if b.spent && !knows {
		return nil
	}
	for i := range w.backups {
		w.backups[i].spent = true
	}
	w.note("  backup %d, replaces %t", s.a%len(w.backups), knows)
	return w.restore(*b, knows)
}
