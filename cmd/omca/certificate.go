package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// certificateGroup are the verbs of the certificate of an object.
func (p *program) certificateGroup(target string) *cli.Command {
	revoke := revokeVerb()
	show := verb{name: "show", usage: "the certificate of the object as it stands", example: "omca system/usr/alice certificate show", run: showState}
	if target == listenerPath {
		show = verb{
			name: "show", usage: "explain a certificate: the listener's, or one of the inventory, a file or a server",
			args: "[SERIAL|FILE|HOST:PORT]", max: 1, run: showCertificate,
			example: "omca certificate show\nomca certificate show node.crt\nomca certificate show www.mycorp:443",
		}
		revoke.args, revoke.max = "[SERIAL]", 1
		revoke.example = "omca certificate revoke 34f19c2a5f3a9c0e77d1408fb2a46f2b9d1c0e55 --reason keyCompromise\n" + revoke.example
	}
	g := group("certificate", "the certificate of the object", p.commands(target, []verb{
		certificateVerb("create", "create"),
		certificateVerb("renew", "renew"),
		show,
		revoke,
		signingRequestVerb("sr"),
		{
			name: "pkcs12", aliases: []string{"pkcs"}, usage: "key, certificate and chain as one PKCS#12 file on stdout; its password is asked, or read from a pipe",
			flags:   []cli.Flag{&cli.BoolFlag{Name: "legacy", Usage: "with the old algorithms that some programs still need"}},
			example: "omca system/usr/alice certificate pkcs12 > alice.p12", run: pkcs12,
		},
		{
			name: "verify", usage: "exit 0 when the object has a valid certificate", run: verifyCertificate,
			example: "omca system/sec/cert certificate verify",
		},
	})...)
	g.Aliases = []string{"cert", "crt"}
	return g
}

// certificateVerb is create or renew under the name given.
func certificateVerb(which, name string) verb {
	v := verb{
		name: name, usage: "give the object a certificate, and a key when it has none",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "replace a valid certificate of a CA outside, or the key of a CA, without asking"},
			&cli.BoolFlag{Name: "revoke", Usage: "revoke the certificate that is replaced, once the new one is there"},
			dryRunFlag(),
		},
		example: "omca system/usr/alice certificate " + which + "\nomca system/usr/alice certificate " + which + " --dry-run", run: createCertificate,
	}
	if name == "cert" {
		v.example = "omca system/sec/cert gen cert"
	}
	if which == "renew" {
		v.usage, v.run = "give the object a new certificate", renewCertificate
		v.flags = append(v.flags, &cli.BoolFlag{Name: "rekey", Usage: "with a new private key; a CA is another one then, and what it signed ends"})
		v.example += "\nomca system/sec/ca certificate renew --rekey --yes"
	}
	return v
}

// inventoryVerbs are about certificates that no path names.
func inventoryVerbs() []verb {
	return []verb{
		{
			name: "sign", usage: "sign a request made elsewhere; prints the certificate and its chain", args: "FILE.csr|-", min: 1, max: 1,
			flags: []cli.Flag{
				&cli.StringFlag{Name: "profile", Usage: "what the certificate is for, `PROFILE`: usr, node or listener"},
				&cli.StringFlag{Name: "validity", Usage: "`DURATION`: 24h, 30d, 1y"},
				&cli.StringFlag{Name: "owner", Usage: "`PATH` of the object that it is for (default: the user who calls)"},
				dryRunFlag(),
			},
			example: "omca certificate sign node9.csr --profile node --validity 90d --dry-run\nomca certificate sign node9.csr --profile node --validity 90d > node9.crt", run: signCertificate,
		},
		{
			name: "ls", aliases: []string{"list"}, usage: "every certificate ever issued, first to expire first",
			flags: []cli.Flag{
				&cli.StringFlag{Name: "expiring", Usage: "only those that expire within `DURATION`: 30d"},
				&cli.StringFlag{Name: "owner", Usage: "only those for the object `PATH`, ux:root for those of the machine's root"},
				&cli.StringFlag{Name: "issuer", Usage: "only those signed by the CA `PATH`"},
				&cli.StringFlag{Name: "profile", Usage: "only those of `PROFILE`"},
				&cli.BoolFlag{Name: "revoked", Usage: "only those that are revoked"},
			},
			example: "omca certificate ls --expiring 30d\nomca certificate ls --revoked", run: listCertificates,
		},
	}
}

func signingRequestVerb(aliases ...string) verb {
	return verb{
		name: "signing-request", aliases: aliases, usage: "print a certificate request (PKCS#10, PEM) for the object's key",
		example: "omca signing-request > node.csr", run: signingRequest,
	}
}

// stateColumns are the columns of the certificate of an object.
func stateColumns() []column[wire.CertificateState] {
	type state = wire.CertificateState
	return []column[state]{
		{name: "OBJECT", text: func(s state) string { return s.Path }},
		{name: "STATE", text: func(s state) string { return s.State }},
		{name: "SUBJECT", text: func(s state) string { return s.Subject }},
		{name: "NAMES", text: func(s state) string { return strings.Join(s.Names, " ") }},
		{name: "ISSUER", text: func(s state) string { return s.Issuer }},
		{name: "SIGNED BY", text: func(s state) string {
			if s.SignedBy == "" && s.Serial != "" {
				return "a CA outside"
			}
			return s.SignedBy
		}},
		{name: "SERIAL", text: func(s state) string { return s.Serial }},
		{name: "NOT BEFORE", text: func(s state) string { return instant(s.NotBefore) }},
		{name: "NOT AFTER", text: func(s state) string { return instant(s.NotAfter) }},
		{name: "DAYS LEFT", text: func(s state) string {
			if s.NotAfter.IsZero() {
				return ""
			}
			return strconv.Itoa(s.DaysLeft)
		}},
		{name: "KEY", text: func(s state) string { return s.KeyType }},
		{name: "SHA256", text: func(s state) string { return s.SHA256 }},
		{name: "REVOKED AT", text: func(s state) string { return instant(timeOf(s.RevokedAt)) }},
		{name: "REASON", text: func(s state) string { return s.Reason }},
		{name: "PENDING", text: func(s state) string { return strings.Join(s.Pending, "; ") }},
	}
}

// recordColumns are the columns of the inventory.
func recordColumns() []column[wire.Record] {
	type record = wire.Record
	return []column[record]{
		{name: "SERIAL", text: func(r record) string { return r.Serial }},
		{name: "STATE", text: func(r record) string { return r.State }},
		{name: "NOT AFTER", text: func(r record) string { return day(r.NotAfter) }, in: inList},
		{name: "OWNER", text: func(r record) string { return cmp.Or(r.Owner, r.Subject) }, in: inList},
		{name: "OWNER", text: func(r record) string { return r.Owner }, in: inFull},
		{name: "PROFILE", text: func(r record) string { return r.Profile }, in: inFull},
		{name: "SUBJECT", text: func(r record) string { return r.Subject }, in: inFull},
		{name: "NAMES", text: func(r record) string { return strings.Join(r.Names, " ") }, in: inFull},
		{name: "ISSUER", text: func(r record) string { return r.Issuer }, in: inFull},
		{name: "SIGNED BY", text: func(r record) string { return r.IssuerPath }, in: inFull},
		{name: "NOT BEFORE", text: func(r record) string { return instant(r.NotBefore) }, in: inFull},
		{name: "NOT AFTER", text: func(r record) string { return instant(r.NotAfter) }, in: inFull},
		{name: "SHA256", text: func(r record) string { return r.SHA256 }, in: inFull},
		{name: "REVOKED AT", text: func(r record) string { return instant(timeOf(r.RevokedAt)) }, in: inFull},
		{name: "REASON", text: func(r record) string { return r.Reason }, in: inFull},
	}
}

func createCertificate(ctx context.Context, c *call) error {
	if c.flags.Bool("dry-run") {
		return c.preview(ctx, wire.Renewal{})
	}
	return c.issue(ctx, (*client.Client).CreateCertificate, wire.Renewal{ReplaceExternal: c.flags.Bool("yes"), Revoke: c.flags.Bool("revoke")})
}

func renewCertificate(ctx context.Context, c *call) error {
	if c.flags.Bool("dry-run") {
		return c.preview(ctx, wire.Renewal{Rekey: c.flags.Bool("rekey")})
	}
	return c.issue(ctx, (*client.Client).RenewCertificate, wire.Renewal{ReplaceExternal: c.flags.Bool("yes"), Rekey: c.flags.Bool("rekey"), Revoke: c.flags.Bool("revoke")})
}

// issue gives the object a certificate. When that would replace one from outside, the operator is asked.
func (c *call) issue(ctx context.Context, how func(*client.Client, context.Context, client.Path, wire.Renewal) (wire.Issued, error), r wire.Renewal) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	var issued wire.Issued
	err = c.breaking(ctx, c.flags.Command.Name, func(ctx context.Context) (err error) {
		issued, err = how(api, ctx, p, r)
		var problem *client.Error
		// Other conflicts, such as a blocked key, are not a matter of consent: their hints do not name --yes.
		if r.ReplaceExternal || !isTerminal(c.stdin) || !errors.As(err, &problem) || len(problem.Breaks) > 0 ||
			problem.Status != http.StatusConflict || !strings.Contains(problem.Hint, "--yes") {
			return err
		}
		if err := c.consent(ctx, c.flags.Command.Name, "replace it?", problem.Error()); err != nil {
			return err
		}
		r.ReplaceExternal = true
		issued, err = how(api, ctx, p, r)
		return err
	})
	if err != nil || c.format == "table" { // a command that did what it was told says nothing
		return err
	}
	return emitOne(c.printer, issued, []column[wire.Issued]{
		{name: "OBJECT", text: func(i wire.Issued) string { return i.Path }},
		{name: "SERIAL", text: func(i wire.Issued) string { return i.Serial }},
		{name: "NOT BEFORE", text: func(i wire.Issued) string { return instant(i.NotBefore) }},
		{name: "NOT AFTER", text: func(i wire.Issued) string { return instant(i.NotAfter) }},
	})
}

func showState(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	state, err := api.Certificate(ctx, p)
	if err != nil {
		return err
	}
	return emitOne(c.printer, state, stateColumns())
}

func signingRequest(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	request, err := api.SigningRequest(ctx, p)
	c.value(request)
	return err
}

func pkcs12(ctx context.Context, c *call) error {
	if isTerminal(c.stdout) {
		return hint.With(usagef("a PKCS#12 file is not for a terminal"), "redirect it: … certificate pkcs12 > FILE.p12")
	}
	if _, err := c.path(); err != nil {
		return err
	}
	password, err := c.newPassword(ctx, "password of the file")
	if err != nil {
		return err
	}
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	how := wire.PKCS12Request{Password: password, Format: "modern"}
	if c.flags.Bool("legacy") {
		how.Format = "legacy"
	}
	file, err := api.PKCS12(ctx, p, how)
	c.out.Write(file)
	return err
}

func verifyCertificate(ctx context.Context, c *call) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	state, err := api.Certificate(ctx, p)
	if err != nil {
		return err
	}
	if state.State == "valid" {
		c.print("%s: valid, %d days left\n", p, state.DaysLeft)
		return nil
	}
	err = fmt.Errorf("%s: the certificate is not valid: %s", p, state.State)
	switch {
	case state.State == "revoked":
		return hint.With(fmt.Errorf("%s: the certificate was revoked at %s: %s", p, instant(timeOf(state.RevokedAt)), state.Reason), "a new one: \"%s %s certificate renew --rekey\"", c.name, p)
	case state.State == "none":
		return hint.With(fmt.Errorf("%s has no certificate", p), "%s %s certificate create", c.name, p)
	case len(state.Pending) > 0:
		return fmt.Errorf("%w: %s", err, strings.Join(state.Pending, "; "))
	case !state.NotAfter.IsZero():
		return fmt.Errorf("%w: it ends %s", err, instant(state.NotAfter))
	}
	return err
}

func signCertificate(ctx context.Context, c *call) error {
	from := c.flags.Args().First()
	request, err := c.readSource(ctx, from, maxRequest)
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	want := wire.SignRequest{
		CSR:      string(request),
		Profile:  c.flags.String("profile"),
		Validity: c.flags.String("validity"),
		Owner:    c.flags.String("owner"),
	}
	if c.flags.Bool("dry-run") {
		shown, err := api.PreviewSign(ctx, want)
		if err != nil {
			return aboutRequest(from, err)
		}
		return c.showPreview(shown)
	}
	signed, err := api.Sign(ctx, want)
	if err != nil {
		return aboutRequest(from, err)
	}
	if c.format == "table" {
		c.print("%s", signed.CertificateChain)
		return nil
	}
	return emitOne(c.printer, signed, []column[wire.Signed]{
		{name: "SERIAL", text: func(s wire.Signed) string { return s.Serial }},
		{name: "NOT AFTER", text: func(s wire.Signed) string { return instant(s.NotAfter) }},
	})
}

// aboutRequest says in which file the request is that was refused.
func aboutRequest(from string, err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return err
	}
	return aboutSource(from, err)
}

func listCertificates(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	revoked := ""
	if c.flags.Bool("revoked") {
		revoked = "true"
	}
	var records []wire.Record
	for record, err := range api.Certificates(ctx, client.Filter{
		Expiring: c.flags.String("expiring"),
		Owner:    c.flags.String("owner"),
		Issuer:   c.flags.String("issuer"),
		Profile:  c.flags.String("profile"),
		Revoked:  revoked,
	}) {
		if err != nil {
			return err
		}
		records = append(records, record)
	}
	return emit(c.printer, records, recordColumns())
}
