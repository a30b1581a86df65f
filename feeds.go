package omca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"omca/crl"
	"omca/internal/feed"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
)

// crlKey is the key of a sec named in cluster.crl that holds the lists.
const crlKey = "crl"

// newFeeds makes what brings the revocation lists of other PKIs here.
func (s *Server) newFeeds() error {
	c := feed.Config{
		Memory: listMemory{s.objects}, Object: s.listValue, Signers: s.listSigners,
		Changed: s.listsCame, Now: s.config.Now, Log: s.config.Log, Panics: s.panics, Network: s.network(),
	}
	if s.db.follows != nil {
		c.Elsewhere = func() bool { return !s.chosen() }
		s.objects.OnBlob(func() {
			if !s.chosen() { // else it is this node's own doing
				s.feeds.Brought()
			}
		})
	}
	var err error
	s.feeds, err = feed.New(c)
	return err
}

// sources are the values of the keyword cluster.crl.
func (s *Server) sources(ctx context.Context) ([]string, error) {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return nil, err
	}
	return cluster.Config.Strings("cluster.crl")
}

// loadLists brings the last good copies, and what the sources give within a few
// seconds, before the first connection is accepted; then follows them.
func (s *Server) loadLists(ctx context.Context) error {
	sources, err := s.sources(ctx)
	if err != nil {
		return err
	}
	if err := s.feeds.Load(ctx, sources); err != nil {
		return fmt.Errorf("revocation lists: %w", err)
	}
	s.run("lists of others", func(ctx context.Context) {
		if err := s.feeds.Run(ctx); err != nil {
			s.config.Log.ErrorContext(ctx, "revocation lists are no longer followed", "error", err)
		}
	})
	return nil
}

// keywordFollower returns the work that follows changes of keywords. It runs outside
// of the watch, which must not wait for the feeds. After a panic it begins with the
// change that it was at.
func (s *Server) keywordFollower() func(context.Context) {
	var at *object.Path
	return func(ctx context.Context) {
		for {
			if at == nil {
				select {
				case <-ctx.Done():
					return
				case path := <-s.touched:
					at = &path
				}
			}
			s.keywordsChanged(ctx, *at)
			at = nil
		}
	}
}

// keywordsChanged follows a change of the object at path, which may be the cluster's
// or one that holds lists: it listens on the address of plain HTTP, and brings the
// sources of lists up to date.
func (s *Server) keywordsChanged(ctx context.Context, path object.Path) {
	if path.Kind == object.KindSec {
		s.feeds.Notify(path.Key())
	}
	if !s.isOwn(ctx, path) {
		return
	}
	if err := s.servePublic(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "plain HTTP not served", "error", err)
	}
	sources, err := s.sources(ctx)
	if err == nil {
		s.feeds.SetSources(ctx, sources)
		s.expectLists(ctx)
		err = s.feeds.Reverify(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "revocation lists not brought up to date", "changed", path.String(), "error", err)
	}
}

// externalLists tells how the lists of others are doing.
func (s *Server) externalLists(context.Context) []wire.ExternalList {
	var all []wire.ExternalList
	for _, st := range s.feeds.Status() {
		all = append(all, wire.ExternalList{
			Source: st.Source, Issuer: st.Issuer, Number: st.Number, ThisUpdate: st.ThisUpdate, NextUpdate: st.NextUpdate,
			FetchedAt: st.FetchedAt, Entries: st.Entries, State: string(st.State), LastError: st.LastError,
			Undetermined: s.undetermined(st.Undetermined),
		})
	}
	return all
}

// undetermined returns the names of cas, without our own CAs: what we took back of
// theirs is known here.
func (s *Server) undetermined(cas []*x509.Certificate) []string {
	var names []string
	for _, cert := range cas {
		if !s.enforcer.Alone(cert) && !slices.Contains(names, cert.Subject.String()) {
			names = append(names, cert.Subject.String())
		}
	}
	return names
}

// listSigners are the CAs whose lists are believed: those that are trusted for
// client certificates, whole chains.
func (s *Server) listSigners(ctx context.Context) ([]*x509.Certificate, error) {
	trusted, err := s.authority.Trust(ctx)
	if len(trusted) > 0 {
		err = nil // one that cannot be read is reported with the listener's generation
	}
	return trusted, err
}

// listValue reads the lists that a sec holds.
func (s *Server) listValue(ctx context.Context, path string) ([]byte, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	return s.objects.Value(ctx, p, crlKey)
}

// listsCame takes the lists of others into the snapshot, and ends the
// connections that they speak against.
func (s *Server) listsCame(ctx context.Context, lists []*crl.Verified) {
	s.enforcer.SetLists(lists)
	s.expectLists(ctx)
}

// expectLists brings the snapshot up to what the sources are doing. A trusted CA
// for which one of them may have a list that is not in force is expected to have
// a list: without another, what it issued is undetermined, and the policy decides.
func (s *Server) expectLists(ctx context.Context) {
	trusted, err := s.listSigners(ctx)
	if err != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "trusted CAs not read", "error", err)
	}
	s.enforcer.Expect(ctx, trusted, s.feeds.Awaited(trusted))
}

// listMemory keeps the last good copies in the store.
type listMemory struct{ objects *registry.Store }

// keptList is what is kept beside the lists.
type keptList struct {
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	FetchedAt    time.Time `json:"fetched_at"`
	DER          []byte    `json:"der"`

	Unused []unusedList `json:"unused"` // null: an earlier version kept it, and did not know
}

// unusedList is a [feed.Unused].
type unusedList struct {
	Issuer  []byte `json:"issuer,omitempty"`
	KeyID   []byte `json:"key_id,omitempty"`
	Why     string `json:"why"`
	Refused bool   `json:"refused,omitempty"`
}

// LoadList implements [feed.Memory].
func (m listMemory) LoadList(ctx context.Context, source string) (feed.Kept, error) {
	text, err := m.objects.LoadBlob(ctx, source)
	if err != nil || text == nil {
		return feed.Kept{}, err
	}
	var k keptList
	if err := json.Unmarshal(text, &k); err != nil {
		return feed.Kept{}, err
	}
	kept := feed.Kept{DER: k.DER, ETag: k.ETag, LastModified: k.LastModified, FetchedAt: k.FetchedAt}
	if k.Unused != nil {
		kept.Unused = make([]feed.Unused, len(k.Unused))
		for i, u := range k.Unused {
			kept.Unused[i] = feed.Unused(u)
		}
	}
	return kept, nil
}

// SaveList implements [feed.Memory].
func (m listMemory) SaveList(ctx context.Context, source string, k feed.Kept) error {
	if len(k.DER) == 0 {
		return m.objects.SaveBlob(ctx, source, nil)
	}
	unused := make([]unusedList, len(k.Unused))
	for i, u := range k.Unused {
		unused[i] = unusedList(u)
	}
	text, err := json.Marshal(keptList{k.ETag, k.LastModified, k.FetchedAt, k.DER, unused})
	if err != nil {
		return err
	}
	return m.objects.SaveBlob(ctx, source, text)
}
