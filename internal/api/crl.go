package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/hint"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// mostCached bounds how long others may keep a list or an OCSP answer of ours
// without asking: so long a revocation may go unnoticed by them.
const mostCached = 5 * time.Minute

// moment is a time in JSON; null when it is zero.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// lists describes all lists at the given time.
func (c Config) lists(ctx context.Context, now time.Time) []wire.CRL {
	all := []wire.CRL{}
	for _, l := range c.Publisher.All() {
		h := l.Header
		list := wire.CRL{
			Authority: pki.AuthorityOf(l.Signer).String(), CA: l.Path, Issuer: l.Signer.Subject.String(), Entries: l.Entries, State: "fresh",
			ThisUpdate: moment(h.ThisUpdate), NextUpdate: moment(h.NextUpdate), URL: "/crl/" + ca.ListName(l.Path) + ".crl", LastingURL: "/crl/" + l.Name + ".crl", Former: l.Former,
		}
		if l.Former != 0 {
			list.URL = list.LastingURL // the other is that of what took its place
		}
		if h.Number != nil {
			list.Number = h.Number.String()
		}
		if now.After(h.NextUpdate) {
			list.State = "stale"
		}
		all = append(all, list)
	}
	if c.External == nil {
		return all
	}
	for _, e := range c.External(ctx) {
		all = append(all, wire.CRL{
			Source: e.Source, Issuer: e.Issuer, Number: e.Number, Entries: e.Entries, State: e.State, LastError: e.LastError,
			ThisUpdate: moment(e.ThisUpdate), NextUpdate: moment(e.NextUpdate), FetchedAt: moment(e.FetchedAt),
			Undetermined: e.Undetermined,
		})
	}
	return all
}

// rootIsTold stands for why a fetch failed where the caller is not root. Others than
// the operator may name what is fetched, in a list or by a redirect: what came of it
// would tell them which servers there are, and what answers there.
const rootIsTold = "the last attempt failed or was refused; root is told why"

// toldOf returns what a caller is told of why a fetch failed.
func toldOf(who usr.Caller, why string) string {
	if why == "" || who.May(usr.Root()) == nil {
		return why
	}
	return rootIsTold
}

// listsFor describes all lists to a caller.
func (d *door) listsFor(ctx context.Context, who usr.Caller) []wire.CRL {
	all := d.lists(ctx, d.Now())
	for i := range all {
		all[i].LastError = toldOf(who, all[i].LastError)
	}
	return all
}

func (d *door) listCRLs(ctx context.Context, c *call) (response, error) {
	return reply(http.StatusOK, wire.CRLList{Items: d.listsFor(ctx, c.who)})
}

// refreshCRL fetches one source, or all: a failure of one leaves the others.
func (d *door) refreshCRL(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.RefreshRequest](c)
	if err != nil {
		return response{}, err
	}
	var sources []string
	for _, l := range d.External(ctx) {
		if !slices.Contains(sources, l.Source) {
			sources = append(sources, l.Source)
		}
	}
	switch {
	case d.Refresh == nil || len(sources) == 0:
		return response{}, fmt.Errorf("%w: the keyword cluster.crl names no source", ca.ErrNotFound)
	case want.Source != "" && !slices.Contains(sources, want.Source):
		return response{}, hint.With(fmt.Errorf("%w: the keyword cluster.crl names no source %.200q", ca.ErrNotFound, want.Source), "one of %s", strings.Join(sources, ", "))
	case want.Source != "":
		sources = []string{want.Source}
	}
	var failed []error
	for _, source := range sources {
		switch err := d.Refresh(ctx, source); {
		case d.Full(err), d.Down(err):
			return response{}, err
		case err != nil:
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return response{}, fmt.Errorf("%w: %w", errUpstream, errors.Join(failed...))
	}
	return noContent()
}

func (d *door) getCRL(_ context.Context, c *call) (response, error) {
	list, err := d.Publisher.Current(c.vars["name"])
	if err != nil {
		return response{}, err
	}
	return d.serveList(c, list, mediaCRL, list.DER, d.shown.of(list).tag), nil
}

func (d *door) getCRLPEM(_ context.Context, c *call) (response, error) {
	list, err := d.Publisher.Current(c.vars["name"])
	if err != nil {
		return response{}, err
	}
	shown := d.shown.of(list)
	return d.serveList(c, list, mediaPEM, shown.pem(), strings.TrimSuffix(shown.tag, `"`)+`-pem"`), nil
}

// serveList answers with a list in one of its forms, or that it is unchanged.
//
// Only its tag tells whether somebody has it already: two lists may be of the
// same second, and then their dates are equal (RFC 9110, 8.8.2.2).
func (d *door) serveList(c *call, list *crl.Published, media string, text []byte, tag string) response {
	h := list.Header
	header := d.cached(h.NextUpdate)
	header.Set("ETag", tag)
	header.Set("Last-Modified", h.ThisUpdate.UTC().Format(http.TimeFormat))
	if hasTag(c.request.Header.Values("If-None-Match"), tag) {
		return response{status: http.StatusNotModified, header: header}
	}
	return response{status: http.StatusOK, media: media, body: text, header: header}
}

// cached says how long what is good until next may be kept.
func (d *door) cached(next time.Time) http.Header {
	now := d.Now()
	age := min(mostCached, next.Sub(now)).Truncate(time.Second)
	if age <= 0 {
		return http.Header{"Cache-Control": {"no-cache"}}
	}
	return http.Header{
		"Cache-Control": {"public, max-age=" + strconv.Itoa(int(age/time.Second)) + ", must-revalidate"},
		"Expires":       {now.Add(age).UTC().Format(http.TimeFormat)},
	}
}

// hasTag reports whether an If-None-Match names the tag (RFC 9110, 13.1.2). Our
// tags have no commas in them.
func hasTag(fields []string, tag string) bool {
	for _, field := range fields {
		for one := range strings.SplitSeq(field, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// shownLists keeps what is made of the current lists, each once: they may be long.
type shownLists struct {
	mu  sync.Mutex
	all map[pki.AuthorityID]*shownList
}

type shownList struct {
	of  *crl.Published
	tag string
	pem func() []byte
}

func (s *shownLists) of(list *crl.Published) *shownList {
	name := pki.AuthorityOf(list.Signer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.all[name]; kept != nil && kept.of == list {
		return kept
	}
	if s.all == nil {
		s.all = make(map[pki.AuthorityID]*shownList)
	}
	s.all[name] = &shownList{of: list, tag: list.ETag(), pem: sync.OnceValue(list.PEM)}
	return s.all[name]
}

func (d *door) postOCSP(ctx context.Context, c *call) (response, error) {
	return d.ocsp(ctx, c, c.body)
}

func (d *door) getOCSP(ctx context.Context, c *call) (response, error) {
	// As it was sent: some clients escape the slashes of base64, some do not.
	request, err := crl.DecodeOCSPPath(strings.TrimPrefix(c.request.URL.EscapedPath(), "/ocsp/"))
	if err != nil {
		return failedOCSP(crl.MalformedRequest), nil //nolint:nilerr // that is the answer
	}
	return d.ocsp(ctx, c, request)
}

// ocsp answers a request. RFC 6960, 4.2.1: what goes wrong is told in the body
// of an answer, so the status is 200.
func (d *door) ocsp(ctx context.Context, c *call, request []byte) (response, error) {
	if d.OCSP == nil {
		return response{}, fmt.Errorf("%w: there is no OCSP responder here", ca.ErrNotFound)
	}
	answer, next, err := d.OCSP(ctx, request)
	switch {
	case errors.Is(err, pki.ErrInvalid):
		return failedOCSP(crl.MalformedRequest), nil
	case errors.Is(err, crl.ErrNotOurs), errors.Is(err, ca.ErrNotFound):
		return failedOCSP(crl.Unauthorized), nil
	case err != nil:
		d.Log.ErrorContext(ctx, "no OCSP answer", "request_id", c.id, "error", err.Error())
		if d.statusOf(err) == http.StatusInternalServerError {
			return failedOCSP(crl.InternalError), nil
		}
		return failedOCSP(crl.TryLater), nil
	}
	r := response{status: http.StatusOK, media: mediaOCSP, body: answer}
	if !next.IsZero() {
		r.header = d.cached(next)
	}
	return r, nil
}

func failedOCSP(f crl.OCSPFailure) response {
	return response{status: http.StatusOK, media: mediaOCSP, body: f.Response()}
}
