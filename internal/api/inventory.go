package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/pki"
)

const (
	defaultPage = 1000   // records in one answer
	maxScan     = 20_000 // records looked at for one answer
)

// signRequest reads what is to be signed.
func (c *call) signRequest() (ca.SignRequest, error) {
	want, err := decode[wire.SignRequest](c)
	if err != nil {
		return ca.SignRequest{}, err
	}
	r := ca.SignRequest{CSR: []byte(want.CSR), Profile: want.Profile}
	if want.Validity != "" {
		if r.Validity, err = object.ParseDuration(want.Validity); err != nil {
			return r, fmt.Errorf("%w: validity: %w", errBadRequest, err)
		}
		if r.Validity <= 0 {
			return r, fmt.Errorf("%w: validity %.32q is not positive", errBadRequest, want.Validity)
		}
	}
	if want.Owner != "" {
		if r.Owner, err = parseOwner(want.Owner); err != nil {
			return r, fmt.Errorf("owner: %w", err)
		}
	}
	return r, nil
}

// parseOwner reads an owner of certificates: a path, or ca.OwnerRoot.
func parseOwner(text string) (string, error) {
	if text == ca.OwnerRoot {
		return text, nil
	}
	p, err := object.ParsePath(text)
	return p.String(), err
}

func (d *door) signCertificate(ctx context.Context, c *call) (response, error) {
	r, err := c.signRequest()
	if err != nil {
		return response{}, err
	}
	issued, err := d.Authority.Sign(ctx, c.who, r)
	if err != nil {
		return response{}, err
	}
	profile := r.Profile
	if profile == "" {
		profile = ca.ProfileListener
	}
	d.metrics.issued.WithLabelValues(profile).Inc()
	c.noticeLeftOut(issued.LeftOut)
	c.noticeCut(issued)
	return reply(http.StatusCreated, wire.Signed{
		Serial: string(pki.SerialOf(issued.Certificate)), NotAfter: issued.Certificate.NotAfter.UTC(),
		Certificate:      string(pki.EncodeCertificates(issued.Certificate)),
		CertificateChain: string(pki.EncodeCertificates(issued.Chain...)),
	})
}

// noticeLeftOut names the attributes of a request's subject that its certificate has not.
func (c *call) noticeLeftOut(attributes []string) {
	if len(attributes) > 0 {
		c.notice("left out of the subject that the request has: %s", strings.Join(attributes, ", "))
	}
}

// selection reads the parameters of a list of certificates.
func (d *door) selection(c *call) (q ca.Query, limit int, err error) {
	limit = defaultPage
	for name, into := range map[string]*string{"owner": &q.Owner, "issuer": &q.Issuer} {
		text := c.query.Get(name)
		if text == "" {
			continue
		}
		if *into, err = parseOwner(text); err != nil {
			return q, 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	if q.Profile = c.query.Get("profile"); q.Profile != "" {
		if _, err := pki.LookupProfile(q.Profile); err != nil {
			return q, 0, err
		}
	}
	if text := c.query.Get("expiring"); text != "" {
		within, err := object.ParseDuration(text)
		if err != nil {
			return q, 0, fmt.Errorf("%w: expiring: %w", errBadRequest, err)
		}
		// What has expired is no longer expiring.
		q.ExpiresAfter, q.ExpiresBefore = d.Now(), d.Now().Add(within)
	}
	if text := c.query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > defaultPage {
			return q, 0, fmt.Errorf("%w: limit is %.32q, not 1 to %d", errBadRequest, text, defaultPage)
		}
	}
	const mostCursor = 128
	if q.After = c.query.Get("after"); len(q.After) > mostCursor {
		return q, 0, fmt.Errorf("%w: after is no cursor of a list", errBadRequest)
	}
	return q, limit, nil
}

// only says which states the parameters revoked and state select: all unless
// given. What the dates alone can tell it leaves to the query, which then does
// not look at the rest.
func (d *door) only(c *call, q *ca.Query) (selects func(state string) bool, err error) {
	selects = func(string) bool { return true }
	state := c.query.Get("state")
	switch state {
	case "":
	case string(ca.StateValid), string(ca.StateNotYet):
		if q.ExpiresAfter.IsZero() {
			q.ExpiresAfter = d.Now()
		}
	case string(ca.StateExpired), stateRevoked:
	default:
		return nil, fmt.Errorf("%w: state is %.32q, not valid, not_yet_valid, expired or revoked", errBadRequest, state)
	}
	if c.query.Get("revoked") == "" && state == "" {
		return selects, nil
	}
	revoked, err := c.flag("revoked")
	given := c.query.Get("revoked") != ""
	return func(s string) bool {
		return (state == "" || s == state) && (!given || revoked == (s == stateRevoked))
	}, err
}

// mostSearch is the length of what is searched for, in bytes.
const mostSearch = 128

// search says which records have the words of the parameter search in them: all
// unless given. A record has a word in its serial number, its subject, one of its
// names, its owner, or the name or the path of its issuer, in any case.
func (c *call) search() (func(ca.Record) bool, error) {
	text := c.query.Get("search")
	if len(text) > mostSearch {
		return nil, fmt.Errorf("%w: search has %d bytes, at most %d", errBadRequest, len(text), mostSearch)
	}
	words := strings.Fields(strings.ToLower(text))
	for i, word := range words {
		if serial, whole := wholeSerial(word); whole {
			words[i] = string(serial) // without colons, as below
		}
	}
	if len(words) == 0 {
		return func(ca.Record) bool { return true }, nil
	}
	return func(r ca.Record) bool {
		cert := r.Certificate
		all := strings.ToLower(strings.Join(append(pki.NamesOf(cert).Strings(),
			string(r.Serial()), cert.Subject.String(), r.Owner, r.Issuer, cert.Issuer.CommonName), "\n"))
		for _, word := range words {
			if !strings.Contains(all, word) {
				return false
			}
		}
		return true
	}, nil
}

// leastSerial is how many hexadecimal digits make a word that is searched for a serial number: those
// that are issued here have 40.
const leastSerial = 32

// wholeSerial reads a word of a search that is a serial number.
func wholeSerial(word string) (serial pki.Serial, whole bool) {
	serial, err := pki.ParseSerial(word)
	return serial, err == nil && len(serial) >= leastSerial
}

// searched are the records to look at: where a word is the serial number of one, that one alone.
func searched(ctx context.Context, authority *ca.Authority, search string, q ca.Query) iter.Seq2[ca.Listed, error] {
	for _, word := range strings.Fields(search) {
		serial, whole := wholeSerial(word)
		if !whole {
			continue
		}
		r, err := authority.Record(ctx, serial)
		if errors.Is(err, ca.ErrNotFound) {
			continue // the digits may be a part of a name
		}
		return func(yield func(ca.Listed, error) bool) {
			if err != nil || q.Selects(r) {
				yield(ca.Listed{Record: r}, err)
			}
		}
	}
	return authority.Records(ctx, q)
}

// listCertificates gives a page of what the caller may see. A page may have
// fewer records than the limit, or none, and still not be the last: a caller
// who may see little does not make the server read everything at once.
func (d *door) listCertificates(ctx context.Context, c *call) (response, error) {
	q, limit, err := d.selection(c)
	if err != nil {
		return response{}, err
	}
	selects, err := d.only(c, &q)
	if err != nil {
		return response{}, err
	}
	has, err := c.search()
	if err != nil {
		return response{}, err
	}
	list := wire.CertificateList{Kind: "CertificateList", Items: []wire.Record{}}
	looked, cursor := 0, ""
	for r, err := range searched(ctx, d.Authority, c.query.Get("search"), q) {
		if err != nil {
			return response{}, err
		}
		if len(list.Items) == limit || looked == maxScan {
			list.Next = cursor
			break
		}
		looked, cursor = looked+1, r.Cursor
		if !has(r.Record) {
			continue
		}
		sees, err := d.mayReadRecord(ctx, c.who, r.Record)
		if err != nil {
			return response{}, err
		}
		if !sees {
			continue
		}
		record, err := d.recordOf(ctx, r.Record)
		if err != nil {
			return response{}, err
		}
		if selects(record.State) {
			list.Items = append(list.Items, record)
		}
	}
	return reply(http.StatusOK, list)
}

func (d *door) getRecord(ctx context.Context, c *call) (response, error) {
	r, err := d.visibleRecord(ctx, c)
	if err != nil {
		return response{}, err
	}
	record, err := d.recordOf(ctx, r)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.FullRecord{Record: record, Certificate: string(pki.EncodeCertificates(r.Certificate))})
}

// visibleRecord is the record with the serial number in the URL.
func (d *door) visibleRecord(ctx context.Context, c *call) (ca.Record, error) {
	serial, err := pki.ParseSerial(c.vars["serial"])
	if err != nil {
		return ca.Record{}, err
	}
	c.note(slog.String("serial", string(serial)))
	r, err := d.Authority.Record(ctx, serial)
	if err != nil {
		return ca.Record{}, err
	}
	sees, err := d.mayReadRecord(ctx, c.who, r)
	if err != nil {
		return ca.Record{}, err
	}
	if !sees {
		// As if it were not there: serial numbers are not for guessing.
		return ca.Record{}, fmt.Errorf("%w: no certificate with serial %s was issued here", ca.ErrNotFound, serial)
	}
	return r, nil
}

func (d *door) recordOf(ctx context.Context, r ca.Record) (wire.Record, error) {
	cert := r.Certificate
	revocation, revoked, err := d.Authority.RevocationFor(ctx, r)
	if err != nil {
		return wire.Record{}, err
	}
	state, withdrawn := standing(revocation, revoked, ca.StateAt(cert, d.Now()))
	id, known, err := d.Authority.AuthorityOf(ctx, r)
	authority := ""
	if known {
		authority = id.String()
	}
	return wire.Record{
		Authority: authority, Serial: string(r.Serial()), Issuer: cert.Issuer.CommonName, IssuerPath: r.Issuer, Subject: cert.Subject.String(),
		Names: append([]string{}, pki.NamesOf(cert).Strings()...), Owner: r.Owner, Profile: r.Profile,
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), State: state, SHA256: pki.Fingerprint(cert), Withdrawal: withdrawn,
	}, err
}

// standing is the state of a certificate of which state is what its dates say, and r its
// revocation, if it is revoked.
func standing(r ca.Revocation, revoked bool, state ca.State) (string, wire.Withdrawal) {
	if !revoked {
		return string(state), wire.Withdrawal{}
	}
	at := r.At.UTC()
	return stateRevoked, wire.Withdrawal{RevokedAt: &at, Reason: r.Reason.String()}
}
