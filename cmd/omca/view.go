package main

import (
	"fmt"
	"strings"
	"time"

	"omca"
	"omca/internal/wire"
)

// explain prints what there is to say about every certificate of a file. Its JSON is cfssl's certinfo, and a little more.
func (c *call) explain(text []byte) error {
	all, err := omca.Explain(text, c.now())
	if err != nil {
		return err
	}
	if c.format != "table" {
		return emit(c.printer, all, explanationColumns())
	}
	for i, e := range all {
		if i > 0 {
			c.print("\n")
		}
		if err := emitOne(c.printer, e, explanationColumns()); err != nil {
			return err
		}
	}
	return nil
}

// recorded is a certificate of the inventory: what there is to say about it, and what only the inventory knows.
type recorded struct {
	omca.Explanation
	State      string    `json:"state"` // "revoked" too
	Serial     string    `json:"serial"`
	IssuerPath string    `json:"issuer_path"`
	Owner      string    `json:"owner"`
	Profile    string    `json:"profile"`
	SHA256     string    `json:"sha256"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	Reason     string    `json:"reason,omitempty"`
}

// explainRecord gives a certificate of the inventory the shape that one of a file has.
func (c *call) explainRecord(r wire.FullRecord) error {
	all, err := omca.Explain([]byte(r.Certificate), c.now())
	if err != nil {
		return fmt.Errorf("the certificate with serial %s: %w", r.Serial, err)
	}
	return emit(c.printer, []recorded{{
		Explanation: all[0], State: r.State, Serial: r.Serial, IssuerPath: r.IssuerPath, Owner: r.Owner, Profile: r.Profile,
		SHA256: r.SHA256, RevokedAt: timeOf(r.RevokedAt), Reason: r.Reason,
	}}, nil)
}

func explanationColumns() []column[omca.Explanation] {
	return []column[omca.Explanation]{
		{name: "SUBJECT", text: func(e omca.Explanation) string { return e.SubjectDN }},
		{name: "NAMES", text: func(e omca.Explanation) string { return strings.Join(e.Names, " ") }},
		{name: "ISSUER", text: func(e omca.Explanation) string { return e.IssuerDN }},
		{name: "SERIAL", text: func(e omca.Explanation) string { return string(e.Serial) }},
		{name: "STATE", text: func(e omca.Explanation) string { return strings.ReplaceAll(string(e.State), "_", " ") }},
		{name: "NOT BEFORE", text: func(e omca.Explanation) string { return instant(e.NotBefore) }},
		{name: "NOT AFTER", text: func(e omca.Explanation) string { return instant(e.NotAfter) }},
		{name: "DAYS LEFT", text: func(e omca.Explanation) string { return fmt.Sprint(e.DaysLeft) }},
		{name: "KEY", text: func(e omca.Explanation) string { return e.Key }},
		{name: "USAGES", text: func(e omca.Explanation) string {
			return strings.Join(append(strings.Split(e.KeyUsage, ", "), e.ExtKeyUsage...), " ")
		}},
		{name: "CA", text: func(e omca.Explanation) string {
			if e.IsCA {
				return "yes"
			}
			return "no"
		}},
		{name: "SHA256", text: func(e omca.Explanation) string { return e.Fingerprint }},
	}
}
