package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// maxList is how many bytes of a revocation list are read to be shown.
const maxList = 64 << 20

// revokeVerb takes back the certificate of an object.
func revokeVerb() verb {
	return verb{
		name: "revoke", usage: "take the certificate back, for good: it is refused from then on",
		flags: []cli.Flag{
			yesFlag(),
			&cli.StringFlag{Name: "reason", Usage: "`REASON` of RFC 5280: keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn, …"},
		},
		example: "omca system/usr/alice certificate revoke --reason keyCompromise", run: revokeCertificate,
	}
}

func revokeCertificate(ctx context.Context, c *call) error {
	if given := c.flags.Args().First(); given != "" {
		return c.revokeSerial(ctx, given)
	}
	p, err := c.path()
	if err != nil {
		return err
	}
	if !c.flags.Bool("yes") && !isTerminal(c.stdin) && c.target == listenerPath { // what a forgotten argument means too
		return hint.With(usagef("revoke: that is the certificate of the listener, %s", p), "name a SERIAL or a PATH, or confirm with --yes")
	}
	if err := c.consent(ctx, "revoke", fmt.Sprintf("revoke the certificate of %s, for good?", p)); err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	return c.revoked(ctx,
		func() error { _, err := api.Certificate(ctx, p); return err },
		func(ctx context.Context) (wire.Revoked, error) { return api.Revoke(ctx, p, c.flags.String("reason")) },
	)
}

func (c *call) revokeSerial(ctx context.Context, given string) error {
	c.target = "" // it is not about an object
	serial, ok := parseSerial(given)
	if !ok {
		return hint.With(usagef("revoke: %q is no serial number", given), "\"%s certificate ls\" lists them; for an object: \"%s PATH certificate revoke\"", c.name, c.name)
	}
	if err := c.consent(ctx, "revoke", fmt.Sprintf("revoke certificate %s, for good?", serial)); err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	return about(serial, c.revoked(ctx,
		func() error { _, err := api.CertificateBySerial(ctx, serial); return err },
		func(ctx context.Context) (wire.Revoked, error) {
			return api.RevokeSerial(ctx, serial, c.flags.String("reason"))
		},
	))
}

// revoked revokes, and says nothing in a table: the command did what it was told. Whoever revokes the certificate that they call with
// gets no answer, so a server on the network is asked before whether it takes the certificate at all.
func (c *call) revoked(ctx context.Context, ask func() error, revoke func(context.Context) (wire.Revoked, error)) error {
	remote := c.where != nil && !c.where.isLocal()
	if remote {
		if err := ask(); err != nil {
			return err
		}
	}
	var r wire.Revoked
	err := c.breaking(ctx, "revoke", func(ctx context.Context) (err error) {
		r, err = revoke(ctx)
		return err
	})
	if remote && errors.Is(err, client.ErrCertificateRefused) {
		c.notice("revoked: it is the certificate of this very call, so the server has hung up")
		return nil
	}
	if err != nil || c.format == "table" {
		return err
	}
	return emitOne(c.printer, r, []column[wire.Revoked]{
		{name: "SERIAL", text: func(r wire.Revoked) string { return r.Serial }},
		{name: "REVOKED AT", text: func(r wire.Revoked) string { return instant(r.RevokedAt) }},
		{name: "REASON", text: func(r wire.Revoked) string { return r.Reason }},
	})
}

// crlGroup are the verbs of revocation lists.
func (p *program) crlGroup() *cli.Command {
	return group("crl", "revocation lists", p.commands("", []verb{
		{
			name: "status", usage: "the lists that the daemon publishes, and those of other CAs that it enforces",
			example: "omca crl status", run: listStatus,
		},
		{
			name: "refresh", usage: "fetch the lists of other CAs now: of one source of cluster.crl, or of all", args: "[SOURCE]", max: 1,
			example: "omca crl refresh\nomca crl refresh http://crl.mycorp", run: refreshLists,
		},
		{
			name: "show", usage: "what a list says: that of a CA of the cluster by its name, or one in a file or at a URL", args: "CA|FILE|URL", min: 1, max: 1,
			example: "omca crl show ca\nomca crl show mycorp.crl -o json", run: showList,
		},
	})...)
}

// listStatus asks the daemon: it is what fetches and publishes.
func listStatus(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	lists, err := api.Lists(ctx)
	if err != nil {
		return err
	}
	type list = wire.CRL
	return emit(c.printer, lists, []column[list]{
		{name: "LIST OF", text: listOf},
		{name: "STATE", text: func(l list) string { return l.State }},
		{name: "ENTRIES", text: func(l list) string { return strconv.Itoa(l.Entries) }},
		{name: "NUMBER", text: func(l list) string { return l.Number }, in: inFull},
		{name: "ISSUER", text: func(l list) string { return l.Issuer }, in: inFull},
		{name: "THIS UPDATE", text: func(l list) string { return instant(timeOf(l.ThisUpdate)) }, in: inFull},
		{name: "NEXT UPDATE", text: func(l list) string { return instant(timeOf(l.NextUpdate)) }},
		{name: "FETCHED AT", text: func(l list) string { return instant(timeOf(l.FetchedAt)) }, in: inFull},
		{name: "URL", text: func(l list) string { return l.URL }, in: inFull},
		{name: "LASTING URL", text: func(l list) string { return l.LastingURL }, in: inFull},
		{name: "UNDETERMINED", text: func(l list) string { return strings.Join(l.Undetermined, "; ") }, in: inFull},
		{name: "ERROR", text: func(l list) string { return l.LastError }},
	})
}

// listOf says whose list it is.
func listOf(l wire.CRL) string {
	if l.Former < 0 {
		return l.CA + " (deleted)"
	}
	if l.Former != 0 {
		return fmt.Sprintf("%s (former %d)", l.CA, l.Former)
	}
	return l.CA + l.Source
}

func refreshLists(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	return api.RefreshLists(ctx, c.flags.Args().First())
}

// shownList is a revocation list as it says itself. Its signature is not looked at: that takes the CA.
type shownList struct {
	Issuer     string       `json:"issuer"`
	Number     string       `json:"number"`
	ThisUpdate time.Time    `json:"this_update,omitzero"`
	NextUpdate time.Time    `json:"next_update,omitzero"`
	Entries    []shownEntry `json:"entries"`
}

// shownEntry is a certificate on a list.
type shownEntry struct {
	Serial    string    `json:"serial"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	Reason    string    `json:"reason"`
}

func showList(ctx context.Context, c *call) error {
	text, err := c.readList(ctx, c.flags.Args().First())
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return fmt.Errorf("%s: no revocation list, neither PEM nor DER: %w", c.flags.Args().First(), err)
	}
	shown := shownList{Issuer: list.Issuer.String(), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Entries: []shownEntry{}}
	if list.Number != nil {
		shown.Number = list.Number.String()
	}
	for _, e := range list.RevokedCertificateEntries {
		shown.Entries = append(shown.Entries, shownEntry{e.SerialNumber.Text(16), e.RevocationTime, reasonName(e.ReasonCode)})
	}
	if c.format == "csv" || c.format == "jsonl" {
		return emit(c.printer, shown.Entries, entryColumns())
	}
	err = emitOne(c.printer, shown, []column[shownList]{
		{name: "ISSUER", text: func(l shownList) string { return l.Issuer }},
		{name: "NUMBER", text: func(l shownList) string { return l.Number }},
		{name: "THIS UPDATE", text: func(l shownList) string { return instant(l.ThisUpdate) }},
		{name: "NEXT UPDATE", text: func(l shownList) string { return instant(l.NextUpdate) }},
		{name: "ENTRIES", text: func(l shownList) string { return strconv.Itoa(len(l.Entries)) }},
	})
	if err != nil || c.format != "table" || len(shown.Entries) == 0 {
		return err
	}
	c.print("\n")
	return emit(c.printer, shown.Entries, entryColumns())
}

func entryColumns() []column[shownEntry] {
	return []column[shownEntry]{
		{name: "SERIAL", text: func(e shownEntry) string { return e.Serial }},
		{name: "REVOKED AT", text: func(e shownEntry) string { return instant(e.RevokedAt) }},
		{name: "REASON", text: func(e shownEntry) string { return e.Reason }},
	}
}

// readList reads a list from where the operator says: a file or a URL, else the daemon by the name of the CA.
func (c *call) readList(ctx context.Context, from string) ([]byte, error) {
	if info, err := os.Stat(from); err == nil && !info.IsDir() || from == "-" || isURL(from) || strings.Contains(from, "/") {
		return c.readSource(ctx, from, maxList)
	}
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return nil, err
	}
	text, err := api.PublishedList(ctx, from)
	return text, about(from, err)
}

// reasonName is the name of a reason code (RFC 5280, 5.3.1).
func reasonName(code int) string {
	names := []string{
		"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
		"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise",
	}
	if code < 0 || code >= len(names) || names[code] == "" {
		return strconv.Itoa(code)
	}
	return names[code]
}
