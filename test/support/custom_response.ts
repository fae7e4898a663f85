// SPDX-License-Identifier: Apache-2.0

const TYPE = 'type.googleapis.com';

/** Envoy's filter custom_response: where a server answers 500 the client gets what the path `/end` answers. */
export const customResponse = {
  name: 'envoy.filters.http.custom_response',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.filters.http.custom_response.v3.CustomResponse`,
    custom_response_matcher: {
      matcher_list: {
        matchers: [
          {
            predicate: {
              single_predicate: {
                input: {
                  name: '500',
                  typed_config: { '@type': `${TYPE}/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput` },
                },
                value_match: { exact: '500' },
              },
            },
            on_match: {
              action: {
                name: 'redirect',
                typed_config: {
                  '@type': `${TYPE}/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy`,
                  uri: 'http://test/end',
                  status_code: 200,
                },
              },
            },
          },
        ],
      },
    },
  },
};
