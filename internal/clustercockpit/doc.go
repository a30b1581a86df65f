// Package clustercockpit issues and verifies tokens for ClusterCockpit's services.
//
// The format of the tokens is that of usr/clustercockpit. Here are the profiles, their keys in the
// store, and the record of what was issued: a token that is not on record is refused.
// Each profile signs with a key of its own ([Profiles.PublicKey], [Profiles.Import]).
package clustercockpit
