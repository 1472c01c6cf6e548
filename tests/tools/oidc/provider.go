// Command provider is an OpenID Connect provider with users and groups from a file: the certified library's own example
// server, by TLS, which also says in the claim `groups` which groups a user is in.
//
//	provider ADDRESS ISSUER USERS GROUPS REDIRECT CERTIFICATE KEY
package main

import (
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// withGroups adds a claim to what the provider tells of a user.
type withGroups struct {
	*storage.Storage
	groups map[string][]string // by a user's identifier
}

func (s withGroups) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := s.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	info.AppendClaims("groups", s.groups[subject])
	return nil
}

func main() {
	address, issuer, users, groups, redirect, certificate, key :=
		os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7]
	storage.RegisterClients(storage.WebClient("sciencebox", "a secret", redirect))
	store, err := storage.StoreFromFile(users)
	if err != nil {
		log.Fatal(err)
	}
	told := withGroups{Storage: storage.NewStorage(store)}
	content, err := os.ReadFile(groups)
	if err == nil {
		err = json.Unmarshal(content, &told.groups)
	}
	if err != nil {
		log.Fatal(err)
	}
	handler := exampleop.SetupServer(issuer, told, slog.Default(), false)
	log.Fatal(http.ListenAndServeTLS(address, certificate, key, handler))
}
