package flocker_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"omca/internal/offline"
	"omca/pki"
	"omca/pki/flocker"
	"omca/pki/flocker/flockertest"
	"omca/pki/lint"
)

const (
	nodeID    = "6f9c2b1e-8a54-4f0d-9b7e-2f1c3d4e5a6b"
	clusterID = "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"
)

func start() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
func clock() time.Time { return start().Add(time.Hour) }

// cluster is the credentials of one cluster, by role.
type cluster map[flocker.Role]flocker.Credential

// original is a cluster that Flocker made, of version 1.
func original(t *testing.T) cluster {
	t.Helper()
	dir := t.TempDir()
	a := flockertest.New(t, "mycluster", clusterID, start())
	a.Write(t, dir, "cluster")
	a.Control("127.0.0.1").Write(t, dir, "control")
	a.Node(nodeID).Write(t, dir, "node")
	a.User("alice").Write(t, dir, "user")
	return load(t, dir, "control", "node", "user")
}

// made is a cluster that is made here, of version 3.
func made(t *testing.T) cluster {
	t.Helper()
	dir := t.TempDir()
	m := offline.Maker{Now: start, Linter: lint.New(), Generate: generate}
	c, err := m.Initialize(t.Context(), dir, "mycluster", "")
	if err != nil {
		t.Fatal(err)
	}
	control, err := c.CreateControl(t.Context(), dir, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := c.CreateNodes(t.Context(), dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	user, err := c.CreateUser(t.Context(), dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	return load(t, dir, control.Name, nodes[0].Name, user.Name)
}

func load(t *testing.T, dir, control, node, user string) cluster {
	t.Helper()
	c := make(cluster)
	for role, name := range map[flocker.Role]string{flocker.Control: control, flocker.Node: node, flocker.User: user} {
		file := filepath.Join(dir, name)
		credential, err := flocker.Load(filepath.Join(dir, "cluster.crt"), file+".crt", file+".key")
		if err != nil {
			t.Fatal(err)
		}
		c[role] = credential
	}
	return c
}

func TestIdentify(t *testing.T) {
	c := made(t)
	for role, name := range map[flocker.Role]string{flocker.Control: "", flocker.Node: c[flocker.Node].Name, flocker.User: "alice"} {
		id := c[role].Identity
		unit := c[role].Authority.Subject.OrganizationalUnit[0]
		if id.Role != role || id.Name != name || id.Cluster != unit || c[role].Certificate.Subject.CommonName != role.CommonName(name) {
			t.Errorf("%s: %+v of %q, want %q of cluster %s", role, id, c[role].Certificate.Subject, name, unit)
		}
	}
	for _, cn := range []string{"", "alice", "node-", "node-1", "node-" + nodeID + "0", "user-", "User-alice", "control-service.example.com", "control", "xnode-" + nodeID} {
		cert := &x509.Certificate{}
		cert.Subject.CommonName = cn
		cert.Subject.Names = append(cert.Subject.Names, pkixName(cn))
		if id, err := flocker.Identify(cert); !errors.Is(err, flocker.ErrRole) {
			t.Errorf("%q is %+v, %v", cn, id, err)
		}
	}
	two := &x509.Certificate{}
	two.Subject.CommonName = "user-alice"
	two.Subject.Names = append(two.Subject.Names, pkixName("node-"+nodeID), pkixName("user-alice"))
	if id, err := flocker.Identify(two); !errors.Is(err, flocker.ErrRole) {
		t.Errorf("two common names are %+v, %v", id, err)
	}
	if id, err := flocker.Identify(c[flocker.User].Authority); !errors.Is(err, flocker.ErrRole) {
		t.Errorf("the CA is %+v, %v", id, err)
	}
	if _, err := flocker.ParseRole("root"); !errors.Is(err, flocker.ErrRole) {
		t.Errorf("role root: %v", err)
	}
}

// Each certificate is of its own role in its own cluster, and of no other in any.
func TestVerify(t *testing.T) {
	mine, theirs := made(t), original(t)
	for kind, c := range map[string][2]cluster{"version 3": {mine, theirs}, "version 1": {theirs, mine}} {
		for _, holder := range []flocker.Role{flocker.Control, flocker.Node, flocker.User} {
			for _, as := range []flocker.Role{flocker.Control, flocker.Node, flocker.User} {
				_, err := as.Verify(c[0][holder].Certificate, c[0][holder].Authority, clock())
				if (err == nil) != (holder == as) {
					t.Errorf("%s %s as %s: %v", kind, holder, as, err)
				}
				if _, err := as.Verify(c[0][holder].Certificate, c[1][holder].Authority, clock()); !errors.Is(err, pki.ErrInvalid) {
					t.Errorf("%s %s as %s in another cluster: %v", kind, holder, as, err)
				}
			}
			for _, at := range []time.Time{start().Add(-time.Second), start().Add(offline.Lifetime + time.Second)} {
				if _, err := flocker.Verify(c[0][holder].Certificate, c[0][holder].Authority, at); !errors.Is(err, pki.ErrInvalid) {
					t.Errorf("%s %s at %v: %v", kind, holder, at, err)
				}
			}
		}
		ca := c[0][flocker.User].Authority
		if _, err := flocker.Verify(ca, ca, clock()); !errors.Is(err, flocker.ErrRole) {
			t.Errorf("%s: the CA as anybody: %v", kind, err)
		}
		if _, err := flocker.Verify(c[0][flocker.User].Certificate, c[0][flocker.Node].Certificate, clock()); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: a node as the CA: %v", kind, err)
		}
	}
}

// A CA may have the name of a node, and is none.
func TestVerifyTheCAItself(t *testing.T) {
	for _, name := range []string{"node-" + nodeID, flocker.ControlName, "user-alice"} {
		ca := parse(t, flockertest.New(t, name, clusterID, start()).DER)
		if id, err := flocker.Verify(ca, ca, clock()); !errors.Is(err, flocker.ErrRole) {
			t.Errorf("a CA named %s is %+v, %v", name, id, err)
		}
	}
}

// A name alone is not enough: a user is for clients only, control has the name
// that clients ask for.
func TestVerifyLooksBeyondTheName(t *testing.T) {
	root := flockertest.New(t, "mycluster", clusterID, start())
	ca := parse(t, root.DER)
	issuer, err := pki.NewIssuer([]*x509.Certificate{ca}, root.Key, lint.New())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cn, profile, name string
		ok                bool
	}{
		{"user-alice", "usr", "", true},
		{"user-alice", "node", "", false}, // also for servers
		{"control-service", "listener", "DNS:control-service", true},
		{"control-service", "listener", "DNS:other.example.com", false}, // not under the name that is asked for
		{"control-service", "usr", "DNS:control-service", false},        // not for servers
		{"node-" + nodeID, "node", "", true},
		{"node-" + nodeID, "ocsp", "", false}, // for neither
	} {
		var list []string
		if tt.name != "" {
			list = []string{tt.name}
		}
		cert := issue(t, issuer, tt.cn, tt.profile, list)
		if _, err := flocker.Verify(cert, ca, clock()); (err == nil) != tt.ok {
			t.Errorf("%s of profile %s for %q: %v", tt.cn, tt.profile, tt.name, err)
		}
	}
}

// Matrix B: who gets through to whom, in a handshake and with data, in the same
// cluster and in another.
func TestHandshakes(t *testing.T) {
	clusters := map[string]cluster{"version 3": made(t), "version 1": original(t)}
	roles := []flocker.Role{flocker.Control, flocker.Node, flocker.User}
	for name, c := range clusters {
		for otherName, other := range clusters {
			for _, peer := range []flocker.Role{flocker.User, flocker.Node} { // REST, agents
				for _, caller := range roles {
					what := fmt.Sprintf("%s: %s of %s where %s calls", name, caller, otherName, peer)
					server, err := flocker.Server(c[flocker.Control], peer, clock)
					if err != nil {
						t.Fatal(err)
					}
					// The caller believes in the server's CA, so that it is the server who decides.
					err = handshake(t, server, calling(other[caller], c[flocker.Control].Authority))
					if want := name == otherName && caller == peer; (err == nil) != want {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			for _, served := range roles { // who poses as the control service
				for _, caller := range []flocker.Role{flocker.Node, flocker.User} {
					client, err := flocker.Client(c[caller], clock)
					if err != nil {
						t.Fatal(err)
					}
					err = handshake(t, serving(other[served]), client)
					if want := name == otherName && served == flocker.Control; (err == nil) != want {
						t.Errorf("%s: %s sees %s of %s as the control service: %v", name, caller, served, otherName, err)
					}
				}
			}
		}
	}
}

// A certificate whose serial number was altered has a broken signature.
func TestAlteredIsRefused(t *testing.T) {
	for kind, c := range map[string]cluster{"version 3": made(t), "version 1": original(t)} {
		altered := c[flocker.User]
		der := append([]byte{}, altered.Certificate.Raw...)
		i := strings.Index(string(der), string(altered.Certificate.SerialNumber.Bytes()))
		der[i+5] ^= 1
		altered.Certificate = parse(t, der)
		server, err := flocker.Server(c[flocker.Control], flocker.User, clock)
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, server, calling(altered, c[flocker.Control].Authority)); err == nil {
			t.Errorf("%s: an altered certificate was accepted", kind)
		}
		if _, err := flocker.Client(altered, clock); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: a configuration with an altered certificate: %v", kind, err)
		}
	}
}

// A resumed connection is looked at like a new one.
func TestResumedIsVerified(t *testing.T) {
	c := made(t)
	now := clock()
	server, err := flocker.Server(c[flocker.Control], flocker.User, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	client := calling(c[flocker.User], c[flocker.Control].Authority)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.Time = server.Time
	for range 2 {
		if err := handshake(t, server, client); err != nil {
			t.Fatal(err)
		}
	}
	asked := server.VerifyConnection
	resumed := false
	server.VerifyConnection = func(state tls.ConnectionState) error {
		resumed = state.DidResume
		state.PeerCertificates = []*x509.Certificate{c[flocker.Node].Certificate}
		return asked(state)
	}
	if err := handshake(t, server, client); err == nil || !resumed {
		t.Errorf("resumed %v, refused with %v", resumed, err)
	}
}

// Every configuration is a new one.
func TestConfigurationsAreTheirOwn(t *testing.T) {
	c := made(t)
	one, err := flocker.Server(c[flocker.Control], flocker.Node, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := flocker.Server(c[flocker.Control], flocker.Node, nil)
	if err != nil || one == two {
		t.Errorf("one configuration for two ports: %v", err)
	}
	three, err := flocker.Client(c[flocker.Node], nil)
	if err != nil {
		t.Fatal(err)
	}
	four, err := flocker.Client(c[flocker.Node], nil)
	if err != nil || three == four {
		t.Errorf("one configuration for two callers: %v", err)
	}
	if one.MinVersion < tls.VersionTLS12 || three.MinVersion < tls.VersionTLS12 {
		t.Error("SSL, or a TLS of old")
	}
}

func TestConfigurationsRefuse(t *testing.T) {
	c := made(t)
	other := c[flocker.Control]
	other.Key = c[flocker.Node].Key
	foreign := c[flocker.Control]
	foreign.Authority = original(t)[flocker.User].Authority
	for what, make := range map[string]func() (*tls.Config, error){
		"a node that serves":               func() (*tls.Config, error) { return flocker.Server(c[flocker.Node], flocker.User, clock) },
		"a user that serves":               func() (*tls.Config, error) { return flocker.Server(c[flocker.User], flocker.User, clock) },
		"control that calls":               func() (*tls.Config, error) { return flocker.Client(c[flocker.Control], clock) },
		"control that is called by itself": func() (*tls.Config, error) { return flocker.Server(c[flocker.Control], flocker.Control, clock) },
		"another key":                      func() (*tls.Config, error) { return flocker.Server(other, flocker.User, clock) },
		"another CA":                       func() (*tls.Config, error) { return flocker.Server(foreign, flocker.User, clock) },
		"nothing":                          func() (*tls.Config, error) { return flocker.Client(flocker.Credential{}, clock) },
		"an expired one": func() (*tls.Config, error) {
			return flocker.Client(c[flocker.User], func() time.Time { return start().Add(2 * offline.Lifetime) })
		},
	} {
		if config, err := make(); err == nil {
			t.Errorf("%s: %+v", what, config)
		}
	}
}

// Checklist of loading: which file, and why not.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	a := flockertest.New(t, "mycluster", clusterID, start())
	a.Write(t, dir, "cluster")
	a.User("alice").Write(t, dir, "alice")
	a.User("bob").Write(t, dir, "bob")
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("junk.crt"), "junk")
	write(t, in("two.crt"), string(a.Certificate())+string(a.Certificate()))
	write(t, in("big.crt"), strings.Repeat(string(a.Certificate()), 100))
	write(t, in("lonely.crt"), string(a.User("lonely").Certificate()))
	if c, err := flocker.Load(in("cluster.crt"), in("alice.crt"), in("alice.key")); err != nil || c.Name != "alice" || c.Cluster != clusterID || !pki.SameKey(c.Key.Public(), c.Certificate.PublicKey) {
		t.Errorf("%+v, %v", c.Identity, err)
	}
	const noCertificate, noKey = "Certificate file could not be opened. ", "Private key file could not be opened. "
	for _, tt := range []struct{ authority, certificate, key, want string }{
		{"none/cluster.crt", "alice.crt", "alice.key", noCertificate + "No such file or directory " + in("none/cluster.crt")},
		{"cluster.crt", "none/alice.crt", "alice.key", noCertificate + "No such file or directory " + in("none/alice.crt")},
		{"cluster.crt", "none.crt", "alice.key", noCertificate + "No such file or directory " + in("none.crt")},
		{"cluster.crt", "lonely.crt", "lonely.key", noKey + "No such file or directory " + in("lonely.key")},
		{"cluster.crt", "junk.crt", "alice.key", noCertificate + "Invalid: no PEM block with a certificate " + in("junk.crt")},
		{"cluster.crt", "two.crt", "alice.key", noCertificate + "Invalid: 2 certificates, want one " + in("two.crt")},
		{"cluster.crt", "big.crt", "alice.key", noCertificate + "Invalid: more than 65536 bytes " + in("big.crt")},
		{"cluster.crt", "cluster.crt", "cluster.key", noCertificate + "Not of that role: "},
		{"cluster.crt", "alice.crt", "bob.key", noKey + "Invalid: it is not the key of "},
		{"cluster.crt", "alice.crt", "alice.crt", noKey + "Invalid: PEM block"},
		{"cluster.crt", ".", "alice.key", noCertificate + "Is a directory " + in(".")},
	} {
		_, err := flocker.Load(in(tt.authority), in(tt.certificate), in(tt.key))
		var file *flocker.FileError
		if !errors.As(err, &file) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s, %s, %s: %v\nwant %s", tt.authority, tt.certificate, tt.key, err, tt.want)
		}
	}
}

// handshake connects, and carries a byte there and back: what TLS 1.3 has to say
// to a client comes after its handshake.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	// A socket, which takes what is written although nobody reads yet: both sides may refuse.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	deadline := time.Now().Add(20 * time.Second)
	answer := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err != nil {
			answer <- err
			return
		}
		defer far.Close()
		conn := tls.Server(far, server)
		one := make([]byte, 1)
		if err = far.SetDeadline(deadline); err == nil {
			_, err = io.ReadFull(conn, one)
		}
		if err == nil {
			_, err = conn.Write(one)
		}
		answer <- err
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(near, client)
	if err = near.SetDeadline(deadline); err == nil {
		_, err = conn.Write([]byte{42})
	}
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	near.Close() // what matters was read
	return errors.Join(err, <-answer)
}

// calling is a client that shows what it has and believes whom authority signed:
// the other side decides.
func calling(c flocker.Credential, authority *x509.Certificate) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, ServerName: flocker.ControlName, Time: clock,
		Certificates: []tls.Certificate{{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.Key}},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := flocker.Control.Verify(state.PeerCertificates[0], authority, clock())
			return err
		},
	}
}

// serving is a server that shows what it has to whoever comes.
func serving(c flocker.Credential) *tls.Config {
	return &tls.Config{Time: clock, Certificates: []tls.Certificate{{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.Key}}}
}
