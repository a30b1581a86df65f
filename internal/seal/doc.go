// Package seal keeps secrets and authenticity of a store: master keys, data keys, and tags.
//
// A [Master] wraps the data keys. It is a file, or is derived from a passphrase. A [Keyring] has the
// data keys and the format of the store, and seals values by AES-256-GCM (XAES) under the place where
// they lie. A [MAC] makes the tags of the values that are kept in the clear.
//
// The package opens files of master keys, and knows no store.
package seal
