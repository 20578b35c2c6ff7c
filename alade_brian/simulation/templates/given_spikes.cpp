{# Spikes that were given as bits, as the lists that a layer leaves of its own. #}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% block maincode %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
    const int _step = {{t_in_timesteps}};
    int32_t* const _first = {{_array('_spikes_first')}};
    int32_t* const _list = {{_array('_spikes_number')}};
    int _n = 0;
    for (int _b = 0; _b < {{batch}}; _b++) {
        const int8_t* _packed = {{_array('in0_values')}} + (size_t)_b * {{from_image}} + {{start}} + (size_t)_step * {{pixels * row_bytes}};
        for (int _p = 0; _p < {{pixels}}; _p++, _packed += {{row_bytes}}) {
            _first[_b * {{pixels}} + _p] = _n;
            {% for word in words %}
            {
                uint64_t _word = 0;
                std::memcpy(&_word, _packed + {{word.first // 8}}, {{word.bytes}});
                _n += shared::append<{{word.count}}>(_list + _n, _word, _p * {{channels}} + {{word.first}});
            }
            {% endfor %}
        }
    }
    _first[{{batch * pixels}}] = _n;
{% endblock %}
