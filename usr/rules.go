package usr

import "fmt"

// Object is the path of what a caller wants to touch: namespace/kind/name.
type Object struct {
	Namespace, Kind, Name string
}

// String returns the path of o.
func (o Object) String() string { return o.Namespace + "/" + o.Kind + "/" + o.Name }

// The kinds of objects.
const (
	kindSec     = "sec"
	kindUsr     = "usr"
	kindCfg     = "cfg"
	kindCluster = "ccfg"
)

// CanRead decides whether c may read what o shows of itself: its keywords, the names of its keys, its state.
//
// That needs guest on the namespace. Users may read their own.
func CanRead(c Caller, o Object) error {
	if c.Is(o) {
		return nil
	}
	need := Need{}
	switch o.Kind {
	case kindSec, kindUsr, kindCfg, kindCluster:
		need = In(RoleGuest, o.Namespace)
	}
	return c.mayTo("reading "+o.String(), need)
}

// CanReadKey decides whether c may read the value of a key of o. Whatever gives a value away is reading it: decoding, renaming the key,
// packing it into PKCS #12.
func CanReadKey(c Caller, o Object, key string) error {
	if o.Kind == kindUsr && key == "password" && c.Authenticated() {
		// docs/authorization.md, Who may read: "nobody, `root` neither".
		return fmt.Errorf("reading key %q of %s: %w: it can be set and never be read", key, o, ErrDenied)
	}
	if c.Is(o) && (private(key) || key == "certificate" || key == "certificate_chain") {
		return nil // what they hold anyway
	}
	return c.mayTo(fmt.Sprintf("reading key %q of %s", key, o), needToReadKey(o, key))
}

func needToReadKey(o Object, key string) Need {
	switch {
	case o.Kind == kindSec && o.Namespace == system:
		// docs/authorization.md, Who may read: the keys of the CA and of the listener live there.
		return Root()
	case o.Kind == kindSec || o.Kind == kindUsr:
		if private(key) {
			// docs/authorization.md, Who may read: no other role reads the private key of somebody else. Any sec may be a CA.
			return Root()
		}
		// docs/authorization.md, Who may read: "`admin` on its namespace".
		return In(RoleAdmin, o.Namespace)
	case o.Kind == kindCfg:
		return In(RoleGuest, o.Namespace)
	}
	return Need{}
}

// private tells whether the value of key holds a private key.
func private(key string) bool { return key == "private_key" || key == "fullpem" }

// CanWrite decides whether c may change, delete or, in a namespace that exists, create o.
//
// It knows nothing of what a user holds: asked about a usr it says yes to root alone, and [CanChangeUser] is who to ask.
func CanWrite(c Caller, o Object) error {
	need := Need{}
	switch {
	case o.Kind == kindSec && o.Namespace == system:
		// docs/authorization.md, Who may change: `system/sec/*` is root's.
		need = Root()
	case o.Kind == kindSec, o.Kind == kindCfg:
		// docs/authorization.md, Who may change. An admin of every namespace is none of system's.
		need = In(RoleAdmin, o.Namespace)
	case o.Kind == kindUsr, o.Kind == kindCluster:
		// The cluster's keywords say which CAs are believed: setting them is making users.
		need = Root()
	}
	return c.mayTo("changing "+o.String(), need)
}

// CanChangeCA decides whether c may change o, which is a CA, or make a CA of it, in whatever way: keywords, keys, certificates, deletion.
//
// docs/authorization.md, Who may change: a CA is root's in every namespace. What it signs speaks for others.
func CanChangeCA(c Caller, o Object) error { return c.mayTo("changing the CA "+o.String(), Root()) }

// CanReadCAKey decides whether c may read the value of a key of o, which is a CA.
//
// docs/authorization.md, Who may read: the keys of every CA are root's.
func CanReadCAKey(c Caller, o Object, key string) error {
	return c.mayTo(fmt.Sprintf("reading key %q of the CA %s", key, o), Root())
}

// CanEndForeign decides whether c may take back what belongs to no object that exists: to the machine's root, to an object that was deleted, or
// to an earlier object of the same path. The object that is there now is another owner.
//
// docs/authorization.md, What belongs to an object.
func CanEndForeign(c Caller, owner string) error {
	return c.mayTo(fmt.Sprintf("taking back what belonged to %.128q", owner), Root())
}

// CanGrant decides whether c may give somebody, c included, the grants want: all of the new value of the keyword, not what is new in it.
//
// docs/authorization.md, Who may change: "a caller cannot give, to itself neither, what it does not hold".
func CanGrant(c Caller, want Grants) error {
	if err := c.May(Authenticated()); err != nil {
		return err
	}
	if err := c.Grants.Covers(want); err != nil {
		return fmt.Errorf("giving grants: %w; %.64q holds %s", err, c.Name, c.held())
	}
	return nil
}

// CanCreateNamespace decides whether c may create the first object of a namespace that does not exist yet. Whoever may and is not root then
// gets admin on it: see [Grants.With].
//
// docs/authorization.md, New namespaces. The namespace system is root's to create.
func CanCreateNamespace(c Caller, namespace string) error {
	if err := ValidName(namespace); err != nil {
		return fmt.Errorf("creating a namespace: %w", err)
	}
	need := Cluster(RoleSquatter)
	if namespace == system {
		need = Root()
	}
	return c.mayTo(fmt.Sprintf("creating namespace %q", namespace), need)
}

// CanSignNames decides whether c may have a certificate signed that speaks for names. The func permitted is the user's keyword "names": it
// returns nil for a name that the keyword permits, and why not for any other.
//
// docs/authorization.md, Who may have what signed: root is bound by the policy of the CA alone. Everybody else needs at least one name,
// and each of them permitted.
func CanSignNames(c Caller, names []string, permitted func(name string) error) error {
	if c.May(Root()) == nil {
		return nil
	}
	if err := c.May(Authenticated()); err != nil {
		return err
	}
	if len(names) == 0 || permitted == nil {
		return fmt.Errorf("signing: %w: %.64q may only have certificates signed for the names of keyword \"names\"", ErrDenied, c.Name)
	}
	for _, name := range names {
		if err := permitted(name); err != nil {
			return fmt.Errorf("signing for name %.255q: %w to %.64q: %w", name, ErrDenied, c.Name, err)
		}
	}
	return nil
}

// mayTo is [Caller.May] with what was tried in front of the error.
func (c Caller) mayTo(try string, need Need) error {
	if err := c.May(need); err != nil {
		return fmt.Errorf("%s: %w", try, err)
	}
	return nil
}
