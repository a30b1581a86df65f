package usr

import "fmt"

// Method is how a caller proved a name.
type Method string

// The methods, by the words that whoami shows.
const (
	MethodSocket   Method = "ux"         // peer credentials of the unix socket
	MethodX509     Method = "x509"       // client certificate
	MethodToken    Method = "jwt"        // bearer token of the cluster
	MethodOpenID   Method = "jwt-openid" // bearer token of an identity provider
	MethodPassword Method = "basic"      // password
	MethodSession  Method = "session"    // cookie of the console
	MethodDaemon   Method = "daemon"     // none: the daemon does what nobody asked for, such as renewals
)

func (m Method) known() bool {
	switch m {
	case MethodSocket, MethodX509, MethodToken, MethodOpenID, MethodPassword, MethodSession, MethodDaemon:
		return true
	}
	return false
}

// MachineRoot names the root of the machine in records, as an owner and in the audit trail: the caller on the unix socket, a command without a
// daemon, the first start, and the tokens that these ask for themselves. The user system/usr/root is another one, and is called "root". No user
// and no subject of an identity provider can have this name.
const MachineRoot = "ux:root"

// RootUser is the name that the machine's root calls itself by in whoami. The user of that name is made by root alone.
const RootUser = "root"

// Caller is whoever makes one call. The zero value is somebody who has not proved a name.
type Caller struct {
	Name      string // of the user, as proved by Method
	Method    Method
	Grants    Grants
	Roles     []string // for services that read them: the keyword roles of the user, or those of the token
	TokenID   string   // of the token, when Method is MethodToken
	Profile   string   // of the token; "" is what the cluster issues for itself. Any other is for other services, and meets [Named] alone here
	Machine   bool     // the machine's root, by a token that it asked for; Method says so of the socket
	External  bool     // proved by a certificate of another PKI, or a session that began with one: its revocation ends no token
	Address   string   // where the call comes from, for the audit trail
	RequestID string   // of this call, for the audit trail
}

// Authenticated tells whether c proved a name by a method that is known.
func (c Caller) Authenticated() bool { return c.Name != "" && c.Method.known() }

// IsMachine tells whether c is the root of the machine, and no user: on the socket, or by a token that was asked for there.
func (c Caller) IsMachine() bool { return c.Machine || c.Method == MethodSocket }

// By returns how c is called in what is kept: in records, in revocations and in the audit trail. That is the name, and [MachineRoot] for the
// machine's root.
func (c Caller) By() string {
	if c.IsMachine() {
		return MachineRoot
	}
	return c.Name
}

// May returns nil when c meets need. Else it returns [ErrUnauthenticated], when c has not proved a name, or an [ErrDenied] that says what
// was needed and what c holds.
func (c Caller) May(need Need) error {
	if need.kind == needAnyone {
		return nil
	}
	if !c.Authenticated() {
		return ErrUnauthenticated
	}
	switch {
	case need.kind == needNamed:
		return nil
	case c.Profile != "":
		return fmt.Errorf("%w: a token of profile %.32q is for other services", ErrDenied, c.Profile)
	}
	switch need.kind {
	case needAuthenticated:
		return nil
	case needRole:
		if c.Grants.Has(need.role, need.namespace) {
			return nil
		}
	}
	return fmt.Errorf("%w: needs %s; %.64q holds %s", ErrDenied, need, c.Name, c.held())
}

// held says what c holds, for a message that one line can take.
func (c Caller) held() string {
	const line = 256
	text := c.Grants.String()
	switch {
	case text == "":
		return "no grant"
	case len(text) > line:
		return fmt.Sprintf("%d grants", len(c.Grants.held))
	}
	return text
}

// Is tells whether o is the user object of c, and c proved to be that user in person: what users may do with their own object hangs on it.
//
// The subject of an identity provider has no user object: the one of the same name is somebody else's. A token of the cluster may hold
// less than its subject, and must not be the way to the rest.
func (c Caller) Is(o Object) bool {
	switch c.Method {
	case MethodX509, MethodPassword, MethodSession:
		return c.Name != "" && o == Object{Namespace: system, Kind: kindUsr, Name: c.Name}
	}
	return false
}
