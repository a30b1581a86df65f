package main

import (
	"fmt"
	"strings"

	"omca"
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
