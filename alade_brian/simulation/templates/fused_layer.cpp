{# One pass over a layer: the model's own update, the delivery of its input, its threshold and reset, row by row.

   The blocks `rest`, `update`, `threshold` and `reset` are Brian2's code for the model's equations; only the delivery
   stands here, so that a row of the target stays in registers.
#}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% block maincode %}
{% macro _code(block) %}{{ vector_code[block] if vector_code[block] is string else vector_code[block]|join('\n') }}{% endmacro %}
{% macro _each_channel(code) %}
            #pragma GCC ivdep
            for (std::ptrdiff_t _c = 0; _c < {{channels}}; _c++) {
                const std::ptrdiff_t _idx = _row + _c;
                const std::ptrdiff_t _vectorisation_idx = _idx;
                {{code|autoindent}}
            }
{% endmacro %}
{# Threshold test and, where nothing must see the membrane between the two, reset of a neuron. #}
{% macro _fire(with_reset) %}
{
{{ _code('threshold') }}
{{ '_fired[_c] = _cond ? -1 : 0;' if spiking }}
}
{{ _reset() if with_reset }}
{% endmacro %}
{# The reset is done to every neuron and taken back where it did not fire: a vector of neurons needs no branch. #}
{% macro _reset() %}
{% if written %}
{
{% for name in written %}
const auto _kept_{{name}} = {{_array(name)}}[_idx];
{% endfor %}
{
{{ _code('reset') }}
}
{% for name in written %}
{{_array(name)}}[_idx] = _fired[_c] ? {{_array(name)}}[_idx] : _kept_{{name}};
{% endfor %}
}
{% endif %}
{% endmacro %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
    typedef {{c_data_type(real)}} _real;
    const int _vectorisation_idx = -1;
    const int _step = {{t_in_timesteps}};
    {% if spiking %}
    const int _slot = {{ '_step % ' ~ slots if slots > 1 else 0 }};
    int32_t* const _first = {{_array('_spikes_first')}} + _slot * {{batch * pixels + 1}};
    int32_t* const _list = {{_array('_spikes_number')}} + (size_t)_slot * {{capacity}};
    int _n = 0;
    {% endif %}
    {# Scalar code of a later block may repeat a name of an earlier one: each has a scope within the one before. #}
    { {{scalar_code['rest']|autoindent}}
    { {{scalar_code['update']|autoindent}}
    { {{scalar_code['threshold']|autoindent}}
    { {{scalar_code['reset']|autoindent}}
    for (int _b = 0; _b < {{batch}}; _b++)
    for (int _p = 0; _p < {{pixels}}; _p++) {
        const std::ptrdiff_t _row = (std::ptrdiff_t)(_b * {{pixels}} + _p) * {{channels}};
        if (_step == 0) {
{{ _each_channel(_code('rest')) }}
        }
        alignas(64) typename shared::Integer<sizeof(_real)>::type _fired[{{channels}}];
        {% if inputs %}
{{ _each_channel(_code('update')) }}
        {% for input in inputs %}
        {{ 'if (_step >= ' ~ input.delay ~ ') ' if input.delay }}{
            const int _from = {{_array(input.name + '_first')}}[_p], _to = {{_array(input.name + '_first')}}[_p + 1];
            const shared::Stretches _seen = {
                {{_array(input.name + '_begin')}} + _from, {{_array(input.name + '_end')}} + _from,
                {{_array(input.name + '_shift')}} + _from, _to - _from};
            const int _then = {{ '(_step - ' ~ input.delay ~ ') % ' ~ input.slots if input.slots > 1 else 0 }};
            const shared::Spikes _spikes = {
                {{_array(input.name + '_spikes_first')}} + _then * {{batch * input.pixels + 1}} + _b * {{input.pixels}},
                {{_array(input.name + '_spikes_number')}} + (size_t)_then * {{input.capacity}}};
            {% if input.amplitude %}
            const _real* _amplitudes = {{_array(input.name + '_amplitude')}}{{ ' + (size_t)_b * ' ~ input.pixels * input.channels if input.amplitude == 'each' }};
            auto _scale = [=](auto _w, int _number) __attribute__((always_inline)) {
                return _w * _amplitudes[{{'_number' if input.amplitude == 'each' else 0}}]; };
            {% else %}
            auto _scale = [](auto _w, int) __attribute__((always_inline)) { return _w; };
            {% endif %}
            {% if input.counted %}
            for (int _k = _spikes.first[0]; _p == 0 && _k < _spikes.first[{{input.pixels}}]; _k++)
                {{_array('_events')}}[_b * {{inputs|length}} + {{loop.index0}}] += {{_array(input.name + '_degrees')}}[_spikes.number[_k]];
            {% else %}
            {{_array('_events')}}[_b * {{inputs|length}} + {{loop.index0}}] += {{input.row}} *
            {% endif %}
            {% if input.whole %}
            shared::gather_row<_real, {{input.row}}, {{input.stride}}>(
            {% else %}
            shared::gather_parts<_real, {{input.row}}, {{input.stride}}, {{input.channels}}, {{input.per_row}}>(
            {% endif %}
                {{_array(input.receiver)}} + _row + {{input.offset}}, {{_array(input.name + '_kernel')}}, _seen, _spikes, _scale);
        }
        {% endfor %}
{{ _each_channel(_fire(not early) ) }}
        {% else %}
{{ _each_channel('{' ~ _code('update') ~ '}' ~ _fire(not early)) }}
        {% endif %}
        {% for record in records if not record.at_end %}
        std::memcpy({{_array(record.name)}} + ((size_t)(_b * {{steps}} + _step) * {{pixels}} + _p) * {{channels}}, {{_array(membrane)}} + _row, {{channels}} * sizeof(_real));
        {% endfor %}
        {% if spiking %}
        _first[_b * {{pixels}} + _p] = _n;
        int8_t* _packed = {{_array('_bits')}} + ((size_t)(_b * {{steps}} + _step) * {{pixels}} + _p) * {{row_bytes}};
        {% if early %}
{{ _each_channel(_reset()) }}
        {% endif %}
        {% for word in words %}
        {
            const uint64_t _word = shared::sign_bits<{{word.count}}>(_fired + {{word.first}});
            std::memcpy(_packed + {{word.first // 8}}, &_word, {{word.bytes}});
            _n += shared::append<{{word.count}}>(_list + _n, _word, _p * {{channels}} + {{word.first}});
        }
        {% endfor %}
        {% endif %}
        {% for record in records if record.at_end %}
        std::memcpy({{_array(record.name)}} + ((size_t)(_b * {{steps}} + _step) * {{pixels}} + _p) * {{channels}}, {{_array(membrane)}} + _row, {{channels}} * sizeof(_real));
        {% endfor %}
    }
    } } } }
    {% if spiking %}
    _first[{{batch * pixels}}] = _n;
    {% endif %}
{% endblock %}
