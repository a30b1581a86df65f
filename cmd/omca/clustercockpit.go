package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/wire"
	"omca/usr/clustercockpit"
)

// profiles of tokens for other services.
func profiles() []string { return []string{"clustercockpit", "cross-login", "metric-store"} }

// profileFlag is --profile.
func profileFlag() cli.Flag {
	return &cli.StringFlag{Name: "profile", Usage: "`PROFILE` of tokens for other services: " + strings.Join(profiles(), ", ")}
}

// foreignFlags are those of a request for a token for other services, beside the ones that it shares with any other.
func foreignFlags() []cli.Flag {
	return []cli.Flag{
		profileFlag(),
		&cli.StringFlag{Name: "issuer", Usage: "of a cross login: `NAME` of the issuer that the service trusts"},
		&cli.StringFlag{Name: "name", Usage: "of a cross login: full `NAME` of the user"},
		&cli.StringSliceFlag{Name: "project", Usage: "of a cross login: `PROJECT` that the user manages; may be repeated"},
	}
}

// keyVerbsOfTokens are the verbs of keys that need no server.
func keyVerbsOfTokens() []verb {
	return []verb{
		{
			name: "keypair", usage: "make a key pair for tokens that other services verify, and print it", run: makeKeypair,
			flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Value: string(clustercockpit.FormatEnv), Usage: "`FORM`: " + listed(clustercockpit.PrivateFormats())},
				&cli.StringFlag{Name: "out", Usage: "write the pair to `FILE`, which must not exist and only you can read, and print the public key alone"},
			},
			example: "omca token keypair >>.env\nomca token keypair --out cc.key\nomca system/sec/jwt-clustercockpit key change --name private_key --from cc.key",
		},
		{
			name: "convert-key", usage: "print the public key of a key or of a pair, in any form, in another form", args: "FILE|-", min: 1, max: 1, run: convertKey,
			flags:   []cli.Flag{&cli.StringFlag{Name: "format", Value: string(clustercockpit.FormatBase64), Usage: "`FORM`: " + listed(clustercockpit.PublicFormats())}},
			example: "omca token convert-key idp.pem --format cross-login\nomca token convert-key .env --format metric-store",
		},
	}
}

func listed[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// format reads --format.
func (c *call) keyFormat(known []clustercockpit.Format) (clustercockpit.Format, error) {
	f := clustercockpit.Format(c.flags.String("format"))
	if !slices.Contains(known, f) {
		return "", usagef("--format %q: not one of %s", f, listed(known))
	}
	return f, nil
}

func makeKeypair(_ context.Context, c *call) error {
	format, err := c.keyFormat(clustercockpit.PrivateFormats())
	if err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	text, err := clustercockpit.FormatPrivateKey(format, private)
	if err != nil {
		return err
	}
	file := c.flags.String("out")
	if file == "" {
		c.print("%s", text)
		return nil
	}
	if !slices.Contains(clustercockpit.PublicFormats(), format) {
		format = clustercockpit.FormatEnv
	}
	beside, err := clustercockpit.FormatPublicKey(format, public)
	if err != nil {
		return err
	}
	if err := writeSecret(file, text); err != nil {
		return err
	}
	c.print("%s", beside)
	return nil
}

// writeSecret writes a file that is not there yet and that nobody else can read. A file that is half written is removed.
func writeSecret(name, text string) error {
	err := home.WriteNew(name, []byte(text))
	if errors.Is(err, fs.ErrExist) {
		return hint.With(fmt.Errorf("%s is there already, and a key is never overwritten", name), "name another file, or remove this one")
	}
	return err
}

// convertKey prints a public key, also that of a private one.
func convertKey(ctx context.Context, c *call) error {
	format, err := c.keyFormat(clustercockpit.PublicFormats())
	if err != nil {
		return err
	}
	from := c.flags.Args().First()
	text, err := c.readSource(ctx, from, clustercockpit.MaxKeyText)
	if err != nil {
		return err
	}
	public, err := publicKeyIn(text)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	c.tellDemo(public)
	written, err := clustercockpit.FormatPublicKey(format, public)
	c.print("%s", written)
	return err
}

// publicKeyIn is the public key in a text, or that of the private one in it.
func publicKeyIn(text []byte) (ed25519.PublicKey, error) {
	public, err := clustercockpit.ParsePublicKey(text)
	if err == nil {
		return public, nil
	}
	if private, failed := clustercockpit.ParsePrivateKey(text); failed == nil {
		return private.Public().(ed25519.PublicKey), nil
	}
	return nil, err
}

// tellDemo warns of the key that everybody has.
func (c *call) tellDemo(key ed25519.PublicKey) {
	if clustercockpit.IsDemo(key) && !c.global.Bool("quiet") {
		c.notice("this is the key of ClusterCockpit's demonstration: everybody can sign with it")
	}
}

// verifyByKey says what a token says, to whoever has the public key and nothing else: nobody is asked whether it was revoked.
func verifyByKey(ctx context.Context, c *call, token string) error {
	given := c.flags.String("public-key")
	text := []byte(given)
	public, err := clustercockpit.ParsePublicKey(text)
	if err != nil {
		var missing error
		if text, missing = readFile(given, clustercockpit.MaxKeyText); missing != nil {
			return hint.With(usagef("--public-key: neither base64 nor a file that can be read"), "\"%s token public-key --profile clustercockpit\" prints one", c.name)
		}
		if public, err = clustercockpit.ParsePublicKey(text); err != nil {
			return fmt.Errorf("%s: %w", given, err)
		}
	}
	c.tellDemo(public)
	verifier, err := clustercockpit.NewVerifier(public, c.now)
	if err != nil {
		return err
	}
	claims, err := verifier.Verify(token)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	for _, role := range c.split("role") {
		if !slices.Contains(claims.Roles, clustercockpit.Role(role)) {
			return fmt.Errorf("%w: the token has no role %q, it has %q", errRefused, role, claims.Roles)
		}
	}
	return c.showClaims(claims)
}

// readClaims is what a token says, as it is printed.
type readClaims struct {
	Subject  string   `json:"subject"`
	Roles    []string `json:"roles"`
	IssuedAt string   `json:"issued_at"`
	Expires  string   `json:"expires_at"` // "" is never
	Issuer   string   `json:"issuer,omitempty"`
	Name     string   `json:"name,omitempty"`
	Projects []string `json:"projects,omitempty"`
}

func (c *call) showClaims(claims clustercockpit.Claims) error {
	r := readClaims{
		Subject: claims.Subject, Roles: []string{}, IssuedAt: instant(claims.IssuedAt), Expires: instant(claims.Expires),
		Issuer: claims.Issuer, Name: claims.Name, Projects: claims.Projects,
	}
	for _, role := range claims.Roles {
		r.Roles = append(r.Roles, string(role))
	}
	type t = readClaims
	columns := []column[t]{
		{name: "SUBJECT", text: func(t t) string { return t.Subject }},
		{name: "ROLES", text: func(t t) string { return strings.Join(t.Roles, " ") }},
		{name: "ISSUED", text: func(t t) string { return t.IssuedAt }},
		{name: "EXPIRES", text: func(t t) string { return orNever(t.Expires) }},
	}
	if r.Issuer != "" {
		columns = append(columns,
			column[t]{name: "ISSUER", text: func(t t) string { return t.Issuer }},
			column[t]{name: "NAME", text: func(t t) string { return t.Name }},
			column[t]{name: "PROJECTS", text: func(t t) string { return strings.Join(t.Projects, " ") }})
	}
	return emitOne(c.printer, r, columns)
}

func orNever(instant string) string {
	if instant == "" {
		return "never"
	}
	return instant
}

// checkProfile refuses a profile that is not one.
func checkProfile(profile string) error {
	if slices.Contains(profiles(), profile) {
		return nil
	}
	return hint.With(usagef("--profile %q: not one of %s", profile, strings.Join(profiles(), ", ")), "%s", suggest(profile, profiles(), "token issue --help"))
}

// issueForeign prints a token for other services.
func issueForeign(ctx context.Context, c *call) error {
	profile := c.flags.String("profile")
	if err := checkProfile(profile); err != nil {
		return err
	}
	for _, name := range []string{"scope", "audience", "refresh", "refresh-duration"} {
		if c.flags.IsSet(name) {
			return usagef("--%s is not for tokens of profile %s, which say roles and nothing of grants", name, profile)
		}
	}
	issued, err := c.foreignToken(ctx, profile, wire.ForeignTokenRequest{
		Subject: c.flags.String("subject"), Roles: c.split("role"), Duration: c.flags.String("duration"),
		Issuer: c.flags.String("issuer"), Name: c.flags.String("name"), Projects: c.flags.StringSlice("project"),
	})
	if err != nil {
		return err
	}
	if c.format == "table" {
		c.print("%s\n", issued.Token)
		return nil
	}
	type t = wire.ForeignToken
	return emitOne(c.printer, issued, []column[t]{
		{name: "TOKEN", text: func(t t) string { return t.Token }},
		{name: "ID", text: func(t t) string { return t.ID }},
		{name: "SUBJECT", text: func(t t) string { return t.Subject }},
		{name: "ROLES", text: func(t t) string { return strings.Join(t.Roles, " ") }},
		{name: "EXPIRES", text: func(t t) string { return orNever(instant(timeOf(t.ExpiresAt))) }},
	})
}

// foreignToken asks for a token, and says where its roles do not lead: cc-backend judges them by how many there are.
func (c *call) foreignToken(ctx context.Context, profile string, r wire.ForeignTokenRequest) (wire.ForeignToken, error) {
	api, err := c.api(ctx)
	if err != nil {
		return wire.ForeignToken{}, err
	}
	issued, err := api.IssueForeign(ctx, profile, r)
	if err != nil || profile != "clustercockpit" || c.global.Bool("quiet") {
		return issued, err
	}
	var roles []clustercockpit.Role
	for _, role := range issued.Roles {
		roles = append(roles, clustercockpit.Role(role))
	}
	switch {
	case clustercockpit.OpensAPI(roles):
	case clustercockpit.OpensUserAPI(roles):
		c.notice(fmt.Sprintf("with the roles %s cc-backend opens /userapi/ and not /api/, which takes api alone, or with admin: --role api", listed(roles)))
	default:
		c.notice(fmt.Sprintf("user %q has no role api: REST API endpoints will return errors", issued.Subject))
	}
	return issued, nil
}

// foreignPublicKey prints the public key of a profile.
func foreignPublicKey(ctx context.Context, c *call) error {
	profile := c.flags.String("profile")
	if err := checkProfile(profile); err != nil {
		return err
	}
	format := clustercockpit.FormatPEM
	if c.flags.IsSet("format") {
		var err error
		if format, err = c.keyFormat(clustercockpit.PublicFormats()); err != nil {
			return err
		}
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	key, err := api.ForeignKey(ctx, profile)
	if err != nil {
		return err
	}
	text, err := clustercockpit.FormatPublicKey(format, key)
	c.print("%s", text)
	return err
}
