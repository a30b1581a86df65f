package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/hint"
	"omca/internal/offline"
	"omca/pki/flocker"
	"omca/pki/lint"
)

// maxNodes bounds the nodes of one command.
const maxNodes = 1000

// offlineGroup is the certificate authority in a directory.
func (p *program) offlineGroup() *cli.Command {
	in := &cli.StringFlag{Name: "inputpath", Aliases: []string{"i"}, Usage: "`DIR` with cluster.crt and cluster.key; the working directory unless given"}
	out := &cli.StringFlag{Name: "outputpath", Aliases: []string{"o"}, Usage: "`DIR` to write to; the working directory unless given"}
	return group("offline", "a certificate authority in a directory, as flocker-ca makes it", p.commands("", []verb{
		{
			name: "initialize", usage: "make the CA of a cluster in the working directory: cluster.crt and cluster.key", args: "NAME", min: 1, max: 1,
			example: "omca offline initialize mycluster", run: offlineInitialize,
		},
		{
			name: "create-control-certificate", usage: "make control-HOST.crt and .key, for the control service on a host name or an address", args: "HOST", min: 1, max: 1,
			flags: []cli.Flag{in, out}, example: "omca offline create-control-certificate control.example.com", run: offlineControl,
		},
		{
			name: "create-node-certificate", usage: "make UUID.crt and .key, for a new node",
			flags:   []cli.Flag{in, out, &cli.IntFlag{Name: "count", Value: 1, Usage: "for `N` nodes, all of them or none"}},
			example: "omca offline create-node-certificate\nomca offline create-node-certificate --count 10 --outputpath nodes", run: offlineNodes,
		},
		{
			name: "create-api-certificate", usage: "make USER.crt and .key, for a user of the API", args: "USER", min: 1, max: 1,
			flags: []cli.Flag{in, out}, example: "omca offline create-api-certificate alice", run: offlineUser,
		},
		{
			name: "verify", usage: "exit 0 when a certificate is one of the cluster, and of the role asked for", args: "FILE", min: 1, max: 1,
			flags:   []cli.Flag{in, &cli.StringFlag{Name: "as", Usage: "the `ROLE` that it must be for: control, node or user"}},
			example: "omca offline verify alice.crt --as user", run: offlineVerify,
		},
		{
			name: "export", usage: "write cluster.crt and cluster.key of the CA of the daemon to a directory", args: "DIR", min: 1, max: 1,
			example: "omca offline export /root/offline-ca", run: offlineExport,
		},
	})...)
}

// maker makes certificates, and says on a terminal how far it is.
func (p *program) maker() offline.Maker {
	m := offline.Maker{Now: p.now, Linter: lint.New(), Program: p.name + " offline"}
	if p.name == flockerName {
		m.Program = p.name
	}
	if isTerminal(p.stderr) {
		m.Progress = func(made, of int) {
			if made == of {
				fmt.Fprint(p.stderr, "\r\x1b[K") // what follows is the result
				return
			}
			fmt.Fprintf(p.stderr, "\rmaking keys: %d of %d", made, of)
		}
	}
	return m
}

// where makes the path of a directory absolute: errors name it so.
func where(dir string) (string, error) { return filepath.Abs(cmp.Or(dir, ".")) }

// An offlineOrder is a certificate to be made in a directory. Both programs, omca
// offline and flocker-ca, come here.
type offlineOrder struct {
	verb    string
	name    string // of a cluster, a host or a user
	in, out string
	count   int
}

// offline makes what is ordered, and returns what to say about it.
func (p *program) offline(ctx context.Context, m offline.Maker, o offlineOrder) (string, error) {
	out, err := where(o.out)
	if err != nil {
		return "", err
	}
	if o.verb == "initialize" {
		if _, err := m.Initialize(ctx, out, o.name, ""); err != nil {
			return "", err
		}
		return "Created cluster.key and cluster.crt. Please keep cluster.key secret, as anyone who can access it will be able to control your cluster.\n", nil
	}
	in, err := where(o.in)
	if err != nil {
		return "", err
	}
	cluster, err := m.Open(in)
	if err != nil {
		return "", err
	}
	switch o.verb {
	case "create-control-certificate":
		made, err := cluster.CreateControl(ctx, out, o.name)
		return fmt.Sprintf(`Created %[1]s.crt and %[1]s.key
Copy these files to the directory /etc/flocker on your control service machine.
Rename the files to control-service.crt and control-service.key and set the correct permissions by running chmod 0600 on both files.
`, made.Name), err
	case "create-node-certificate":
		made, err := cluster.CreateNodes(ctx, out, o.count)
		var text strings.Builder
		for _, node := range made {
			fmt.Fprintf(&text, "Created %s.crt. Copy it over to /etc/flocker/node.crt on your node machine and make sure to chmod 0600 it.\n", node.Name)
		}
		return text.String(), err
	case "create-api-certificate":
		made, err := cluster.CreateUser(ctx, out, o.name)
		return fmt.Sprintf("Created %[1]s.crt and %[1]s.key. You can now give these to your API enduser so they can access the control service API.\n", made.Name), err
	}
	return "", usagef("unknown command %q", o.verb)
}

// order runs an order of omca offline.
func (c *call) order(ctx context.Context, o offlineOrder) error {
	m := c.maker()
	if c.global.Bool("quiet") {
		m.Progress = nil
	}
	o.in, o.out = c.flags.String("inputpath"), c.flags.String("outputpath")
	said, err := c.offline(ctx, m, o)
	if err != nil {
		return err
	}
	c.print("%s", said)
	return nil
}

func offlineInitialize(ctx context.Context, c *call) error {
	return c.order(ctx, offlineOrder{verb: "initialize", name: c.flags.Args().First()})
}

func offlineControl(ctx context.Context, c *call) error {
	return c.order(ctx, offlineOrder{verb: "create-control-certificate", name: c.flags.Args().First()})
}

func offlineNodes(ctx context.Context, c *call) error {
	n := c.flags.Int("count")
	if n < 1 || n > maxNodes {
		return usagef("--count %d: want 1 to %d", n, maxNodes)
	}
	return c.order(ctx, offlineOrder{verb: "create-node-certificate", count: n})
}

func offlineUser(ctx context.Context, c *call) error {
	return c.order(ctx, offlineOrder{verb: "create-api-certificate", name: c.flags.Args().First()})
}

// verified is what a certificate of a cluster says, once it is believed.
type verified struct {
	File    string `json:"file"`
	Role    string `json:"role"` // ca, control, node or user
	Name    string `json:"name,omitempty"`
	Cluster string `json:"cluster"`
	Until   string `json:"not_after"`
}

func offlineVerify(_ context.Context, c *call) error {
	role := flocker.Role("")
	if c.flags.IsSet("as") {
		var err error
		if role, err = flocker.ParseRole(c.flags.String("as")); err != nil {
			return usagef("--as %q: want control, node or user", c.flags.String("as"))
		}
	}
	in, err := where(c.flags.String("inputpath"))
	if err != nil {
		return err
	}
	authority, err := c.maker().ReadAuthority(in)
	if err != nil {
		return err
	}
	file := c.flags.Args().First()
	path, err := where(file)
	if err != nil {
		return err
	}
	cert, err := flocker.ReadCertificate(path)
	if err != nil {
		return &flocker.FileError{What: "Certificate file could not be opened", Path: path, Err: err}
	}
	id, err := c.identify(cert, authority, role)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	id.File, id.Until = file, instant(cert.NotAfter)
	if c.format == "table" {
		c.print("%s\n", id.String())
		return nil
	}
	return emitOne(c.printer, id, []column[verified]{
		{name: "FILE", text: func(v verified) string { return v.File }},
		{name: "ROLE", text: func(v verified) string { return v.Role }},
		{name: "NAME", text: func(v verified) string { return v.Name }},
		{name: "CLUSTER", text: func(v verified) string { return v.Cluster }},
		{name: "NOT AFTER", text: func(v verified) string { return v.Until }},
	})
}

// identify says who a certificate is for: the CA itself, or a holder of the role
// asked for ("" is any).
func (p *program) identify(cert, authority *x509.Certificate, role flocker.Role) (verified, error) {
	if cert.Equal(authority) && role == "" {
		v := verified{Role: "ca", Name: cert.Subject.CommonName}
		if units := cert.Subject.OrganizationalUnit; len(units) > 0 {
			v.Cluster = units[0]
		}
		return v, nil
	}
	verify := flocker.Verify
	if role != "" {
		verify = role.Verify
	}
	id, err := verify(cert, authority, p.now())
	if errors.As(err, &x509.UnknownAuthorityError{}) {
		err = hint.With(err, "name the directory of the cluster that signed it with --inputpath DIR")
	}
	return verified{Role: string(id.Role), Name: id.Name, Cluster: id.Cluster}, err
}

// String is the line that a person reads.
func (v verified) String() string {
	who := strings.TrimSpace(v.Role + " " + v.Name)
	if v.Cluster != "" {
		who += " of cluster " + v.Cluster
	}
	return v.File + ": " + who + ", valid until " + v.Until
}
