package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
	"omca/usr/clustercockpit"
)

// maxTokenText bounds what is read as a token, in bytes.
const maxTokenText = 64 << 10

// tokenFlags are those of a request for a token.
func tokenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "subject", Usage: "`NAME` of the user whom it is for (default: who calls)"},
		&cli.StringSliceFlag{Name: "role", Usage: "only this `ROLE` of what the user holds; may be repeated, or be a list: admin,guest"},
		&cli.StringFlag{Name: "scope", Usage: "only in this `NAMESPACE`"},
		&cli.StringFlag{Name: "duration", Usage: "`TIME` that it lives: 10m, 1h30m (default 10m, at most 24h)"},
		&cli.BoolFlag{Name: "refresh", Usage: "with a refresh token, which gets access tokens: printed with -o json"},
		&cli.StringFlag{Name: "refresh-duration", Usage: "`TIME` that the refresh token lives: 24h, 7d (default 24h, at most 30d)"},
		&cli.StringSliceFlag{Name: "audience", Usage: "for this `SERVICE`, and not for this API; may be repeated"},
	}
}

// daemonAuthVerb is OpenSVC's form of "token issue": with the word token, or without.
func daemonAuthVerb() verb {
	return verb{
		name: "auth", usage: "print an access token", args: "[token]", max: 1, flags: tokenFlags(),
		example: "omca daemon auth token --subject alice --duration 10m\nTOKEN=$(omca daemon auth token --subject alice --role guest --scope ns1)",
		run: func(ctx context.Context, c *call) error {
			if word := c.flags.Args().First(); word != "" && word != "token" {
				return usagef("auth: unexpected argument %q, want token", word)
			}
			return issueToken(ctx, c)
		},
	}
}

// tokenGroup are the verbs of tokens.
func (p *program) tokenGroup() *cli.Command {
	verbs := append(tokenVerbs(), keyVerbsOfTokens()...)
	return group("token", "tokens of users: for this API, and for services that verify them by public key", p.commands("", verbs)...)
}

func tokenVerbs() []verb {
	subject := &cli.StringFlag{Name: "subject", Usage: "`NAME` of the user"}
	return []verb{
		{
			name: "issue", usage: "print an access token, or one for other services", flags: append(tokenFlags(), foreignFlags()...), run: issueToken,
			example: "omca token issue --subject alice --duration 1h\nomca token issue --subject alice --refresh -o json\n" +
				"omca token issue --profile clustercockpit --subject demo --duration 2000h",
		},
		{
			name: "verify", usage: "whether a token is accepted, and what it says", args: "[FILE|-]", max: 1, run: verifyToken,
			flags: []cli.Flag{
				&cli.BoolFlag{Name: "refresh", Usage: "it is a refresh token"},
				&cli.StringFlag{Name: "public-key", Usage: "with this `KEY`, base64 or a file, and nothing else: no server is asked, nor whether it was revoked"},
				&cli.StringSliceFlag{Name: "role", Usage: "with --public-key: refuse it unless it has this `ROLE`; may be repeated"},
			},
			example: "omca token issue --subject alice | omca token verify\nomca token verify alice.token\n" +
				"omca token verify demo.token --public-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= --role api",
		},
		{
			name: "ls", aliases: []string{"list"}, usage: "the tokens that were issued", run: listTokens,
			flags: []cli.Flag{subject, &cli.StringFlag{Name: "state", Usage: "only in this `STATE`: valid, expired or revoked"},
				&cli.BoolFlag{Name: "all", Usage: "in every state (default: valid)"}},
			example: "omca token ls --subject alice\nomca token ls --all -o json",
		},
		{
			name: "revoke", usage: "take back a token, or all of a user, for good", args: "[ID]", max: 1, run: revokeToken, flags: []cli.Flag{subject},
			example: "omca token revoke --subject alice\nomca token revoke GXZN5EXAMPLE2TOKENID3ABCDEF",
		},
		{
			name: "public-key", usage: "the public keys that tokens are verified with, the one that signs first", run: publicTokenKey,
			flags: []cli.Flag{&cli.StringFlag{Name: "format", Value: "pem", Usage: "`FORM`: pem, base64 (the 32 bytes, of the key that signs alone) or jwk (a set); with --profile: " + listed(clustercockpit.PublicFormats())},
				profileFlag()},
			example: "omca token public-key >tokens.pem\nomca token public-key --format base64\n" +
				"omca token public-key --format jwk\nomca token public-key --profile clustercockpit --format env",
		},
		{
			name: "rotate-key", usage: "make a new key that signs tokens; what the old one signed stays good until it expires", run: rotateTokenKey,
			flags:   []cli.Flag{yesFlag(), &cli.BoolFlag{Name: "no-overlap", Usage: "refuse all that was signed until now: for a key that others know"}},
			example: "omca token rotate-key\nomca token rotate-key --no-overlap --yes",
		},
	}
}

// split reads a flag that may be repeated and may be a list.
func (c *call) split(name string) []string {
	var words []string
	for _, text := range c.flags.StringSlice(name) {
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				words = append(words, word)
			}
		}
	}
	return words
}

func issueToken(ctx context.Context, c *call) error {
	if c.flags.IsSet("profile") {
		return issueForeign(ctx, c)
	}
	for _, name := range []string{"issuer", "name", "project"} {
		if c.flags.IsSet(name) {
			return usagef("--%s goes with --profile cross-login", name)
		}
	}
	refresh := c.flags.Bool("refresh")
	switch {
	case !refresh && c.flags.String("refresh-duration") != "":
		return usagef("--refresh-duration goes with --refresh")
	case refresh && (c.format == "table" || c.format == "csv"):
		if c.global.IsSet("output") {
			return hint.With(usagef("-o %s has no place for two tokens", c.format), "-o json prints both")
		}
		c.format = "json" // the file that OpenSVC's client keeps
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	issued, err := api.IssueToken(ctx, client.TokenRequest{
		Subject: c.flags.String("subject"), Roles: c.split("role"), Scope: c.flags.String("scope"), Audience: c.flags.StringSlice("audience"),
		Duration: c.flags.String("duration"), Refresh: refresh, RefreshDuration: c.flags.String("refresh-duration"),
	})
	if err != nil {
		return err
	}
	if c.format == "table" {
		c.print("%s\n", issued.AccessToken)
		return nil
	}
	type t = wire.TokenPair
	return emitOne(c.printer, issued, []column[t]{
		{name: "ACCESS TOKEN", text: func(t t) string { return t.AccessToken }},
		{name: "EXPIRES", text: func(t t) string { return instant(t.AccessExpiredAt) }},
	})
}

// verifyToken reads the token from a file or standard input: in the arguments everybody who lists processes would see it.
func verifyToken(ctx context.Context, c *call) error {
	from := c.flags.Args().First()
	if strings.Count(from, ".") == 2 && strings.HasPrefix(from, "ey") {
		return hint.With(usagef("verify: that is a token, and everybody who lists processes sees it"), "give it on standard input: \"%s token verify <FILE\"", c.name)
	}
	if from == "" {
		from = "-"
	}
	text, err := c.readSource(ctx, from, maxTokenText)
	if err != nil {
		return err
	}
	if c.flags.IsSet("public-key") {
		return verifyByKey(ctx, c, strings.TrimSpace(string(text)))
	}
	if c.flags.IsSet("role") {
		return usagef("--role goes with --public-key")
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	use := ""
	if c.flags.Bool("refresh") {
		use = "refresh"
	}
	v, err := api.VerifyToken(ctx, strings.TrimSpace(string(text)), use)
	if err != nil {
		return err
	}
	if !v.Valid {
		return errors.New(strings.TrimPrefix(v.Reason, "not authenticated: "))
	}
	type t = wire.VerifiedToken
	return emitOne(c.printer, v, []column[t]{
		{name: "SUBJECT", text: func(t t) string { return t.Subject }},
		{name: "GRANT", text: func(t t) string { return t.Grant }},
		{name: "GRANT NOW", text: func(t t) string { return t.GrantNow }},
		{name: "ROLES", text: func(t t) string { return strings.Join(t.Roles, " ") }},
		{name: "USE", text: func(t t) string { return t.Use }},
		{name: "ISSUED", text: func(t t) string { return instant(t.IssuedAt) }},
		{name: "EXPIRES", text: func(t t) string { return instant(timeOf(t.ExpiresAt)) }},
		{name: "ISSUER", text: func(t t) string { return t.Issuer }},
		{name: "AUDIENCE", text: func(t t) string { return strings.Join(t.Audience, " ") }},
		{name: "KEY", text: func(t t) string { return t.KeyID }},
		{name: "ID", text: func(t t) string { return t.ID }},
	})
}

func listTokens(ctx context.Context, c *call) error {
	state := c.flags.String("state")
	switch {
	case state != "" && c.flags.Bool("all"):
		return usagef("both --state and --all")
	case state == "" && !c.flags.Bool("all"):
		state = "valid"
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	tokens, err := api.Tokens(ctx, c.flags.String("subject"), state)
	if err != nil {
		return err
	}
	type t = wire.TokenItem
	return emit(c.printer, tokens, []column[t]{
		{name: "ID", text: func(t t) string { return t.ID }},
		{name: "SUBJECT", text: func(t t) string { return t.Subject }},
		{name: "USE", text: func(t t) string { return t.Use }},
		{name: "PROFILE", text: func(t t) string { return t.Profile }, in: inFull},
		{name: "GRANT", text: func(t t) string { return t.Grant }, in: inFull},
		{name: "ROLES", text: func(t t) string { return strings.Join(t.Roles, " ") }, in: inFull},
		{name: "AUDIENCE", text: func(t t) string { return strings.Join(t.Audience, " ") }, in: inFull},
		{name: "ISSUED", text: func(t t) string { return instant(t.IssuedAt) }, in: inFull},
		{name: "EXPIRES", text: func(t t) string { return instant(timeOf(t.ExpiresAt)) }},
		{name: "BY", text: func(t t) string { return t.IssuedBy }, in: inFull},
		{name: "STATE", text: func(t t) string { return t.State }},
	})
}

func revokeToken(ctx context.Context, c *call) error {
	id, subject := c.flags.Args().First(), c.flags.String("subject")
	if (id == "") == (subject == "") {
		return hint.With(usagef("revoke: say which token: an ID, or --subject NAME for all of a user"), "\"%s token ls\" lists them", c.name)
	}
	if strings.ContainsAny(id, "./") {
		return hint.With(usagef("revoke: %.16q… is no ID of a token", id), "\"%s token ls\" lists them", c.name)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	if id != "" {
		_, err := api.RevokeToken(ctx, id)
		return err
	}
	n, err := api.RevokeTokensOf(ctx, subject)
	if err != nil || c.format == "table" {
		return err
	}
	type revoked struct {
		Revoked int `json:"revoked"`
	}
	return emitOne(c.printer, revoked{n}, []column[revoked]{{name: "REVOKED", text: func(r revoked) string { return strconv.Itoa(r.Revoked) }}})
}

func publicTokenKey(ctx context.Context, c *call) error {
	if c.flags.IsSet("profile") {
		return foreignPublicKey(ctx, c)
	}
	form := c.flags.String("format")
	if form != "pem" && form != "base64" && form != "jwk" {
		return usagef("--format %q: not one of pem, base64, jwk", form)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	keys, text, err := api.TokenKeys(ctx)
	if err != nil {
		return err
	}
	if form == "jwk" {
		c.print("%s\n", strings.TrimSpace(string(text)))
		return nil
	}
	for _, k := range keys {
		raw, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || k.Curve != "Ed25519" || len(raw) != ed25519.PublicKeySize {
			return fmt.Errorf("key %s is no Ed25519 key", k.KeyID)
		}
		if form == "base64" {
			c.print("%s\n", base64.StdEncoding.EncodeToString(raw))
			return nil // one key is what fits in the configuration of a service
		}
		der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw))
		if err != nil {
			return err
		}
		c.print("%s", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return nil
}

func rotateTokenKey(ctx context.Context, c *call) error {
	overlap := !c.flags.Bool("no-overlap")
	if !overlap {
		err := c.consent(ctx, "rotate-key --no-overlap", "refuse every token that was issued until now, for good?", "every token of this cluster is refused from then on")
		if err != nil {
			return err
		}
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	key, err := api.RotateTokenKey(ctx, overlap)
	if err != nil {
		return err
	}
	if c.format == "table" {
		c.print("%s\n", key.KeyID)
		return nil
	}
	type k = wire.SigningKey
	return emitOne(c.printer, key, []column[k]{
		{name: "KEY", text: func(k k) string { return k.KeyID }},
		{name: "PUBLIC KEY", text: func(k k) string { return base64.StdEncoding.EncodeToString(k.PublicKey) }},
		{name: "CREATED", text: func(k k) string { return instant(k.CreatedAt) }},
	})
}
