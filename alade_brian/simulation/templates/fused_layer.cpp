{# One pass over a layer: the model's own update, the delivery of its input, its threshold and reset, row by row.

   The blocks `rest`, `update`, `threshold` and `reset` are Brian2's code for the model's equations; only the delivery
   stands here, so that a row of the target stays in registers.
#}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% block maincode %}
{% macro _each_channel(code) %}
            #pragma GCC ivdep
            for (int _c = 0; _c < {{channels}}; _c++) {
                const int _idx = _row + _c;
                const int _vectorisation_idx = _idx;
                {{code|autoindent}}
            }
{% endmacro %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
    typedef {{c_data_type(real)}} _real;
    const int _vectorisation_idx = -1;
    const int _step = {{t_in_timesteps}};
    {% if spiking %}
    typedef {{c_data_type(index)}} _index;
    const int _slot = _step % {{slots}};
    int32_t* const _first = {{_array('_spikes_first')}} + _slot * {{batch * pixels + 1}};
    _index* const _list = {{_array('_spikes_channel')}} + (size_t)_slot * {{capacity}};
    int _n = 0;
    {% endif %}
    {# Scalar code of a later block may repeat a name of an earlier one: each has a scope within the one before. #}
    { {{scalar_code['rest']|autoindent}}
    { {{scalar_code['update']|autoindent}}
    { {{scalar_code['threshold']|autoindent}}
    { {{scalar_code['reset']|autoindent}}
    for (int _b = 0; _b < {{batch}}; _b++)
    for (int _p = 0; _p < {{pixels}}; _p++) {
        const int _row = (_b * {{pixels}} + _p) * {{channels}};
        if (_step == 0) {
{{ _each_channel(vector_code['rest']) }}
        }
        alignas(64) typename shared::Integer<sizeof(_real)>::type _fired[{{channels}}];
        {% if inputs %}
        {
{{ _each_channel(vector_code['update']) }}
        }
        {% for input in inputs %}
        if (_step >= {{input.delay}}) {
            const int32_t* _taps = {{_array(input.name + '_first')}} + _p;
            const int32_t* _sources = {{_array(input.name + '_source')}} + _taps[0];
            const int32_t* _blocks = {{_array(input.name + '_block')}} + _taps[0];
            const int _count = _taps[1] - _taps[0];
            const int _then = (_step - {{input.delay}}) % {{input.slots}};
            typedef {{c_data_type(input.index)}} _from_index;
            const shared::Spikes<_from_index> _spikes = {
                {{_array(input.name + '_spikes_first')}} + _then * {{batch * input.pixels + 1}} + _b * {{input.pixels}},
                {{_array(input.name + '_spikes_channel')}} + (size_t)_then * {{input.capacity}}};
            {% if input.amplitude %}
            const _real* _amplitudes = {{_array(input.name + '_amplitude')}}{{ ' + (size_t)_b * ' ~ input.pixels * input.channels if input.amplitude == 'each' }};
            auto _scale = [=](auto _w, int _pixel, int _channel) __attribute__((always_inline)) {
                return _w * _amplitudes[{{'_pixel * ' ~ input.channels ~ ' + _channel' if input.amplitude == 'each' else 0}}]; };
            {% else %}
            auto _scale = [](auto _w, int, int) __attribute__((always_inline)) { return _w; };
            {% endif %}
            {% if input.whole %}
            shared::gather_row<_real, {{input.row}}, {{input.stride}}, {{input.channels}}>(
            {% else %}
            shared::gather_parts<_real, {{input.row}}, {{input.stride}}, {{input.channels}}, {{input.per_row}}>(
            {% endif %}
                {{_array(receiver)}} + _row + {{input.offset}}, {{_array(input.name + '_kernel')}}, _sources, _blocks, _count, _spikes, _scale);
            {{_array('_events')}}[_b * {{inputs|length}} + {{loop.index0}}] += shared::count_events(_sources, _count, _spikes, {{input.row}});
        }
        {% endfor %}
        {
            #pragma GCC ivdep
            for (int _c = 0; _c < {{channels}}; _c++) {
                const int _idx = _row + _c;
                const int _vectorisation_idx = _idx;
                {{vector_code['threshold']|autoindent}}
                {% if spiking %}
                _fired[_c] = _cond ? -1 : 0;
                {% endif %}
            }
        }
        {% else %}
        #pragma GCC ivdep
        for (int _c = 0; _c < {{channels}}; _c++) {
            const int _idx = _row + _c;
            const int _vectorisation_idx = _idx;
            { {{vector_code['update']|autoindent}} }
            {
                {{vector_code['threshold']|autoindent}}
                {% if spiking %}
                _fired[_c] = _cond ? -1 : 0;
                {% endif %}
            }
        }
        {% endif %}
        {% for record in records if not record.at_end %}
        std::memcpy({{_array(record.name)}} + ((size_t)(_b * {{steps}} + _step) * {{pixels}} + _p) * {{channels}}, {{_array(membrane)}} + _row, {{channels}} * sizeof(_real));
        {% endfor %}
        {% if spiking %}
        _first[_b * {{pixels}} + _p] = _n;
        int8_t* _packed = {{_array('_bits')}} + ((size_t)(_b * {{steps}} + _step) * {{pixels}} + _p) * {{row_bytes}};
        {% for word in words %}
        {
            const uint64_t _word = shared::sign_bits<{{word.count}}>(_fired + {{word.first}});
            std::memcpy(_packed + {{word.first // 8}}, &_word, {{word.bytes}});
            const int _more = shared::append(_list + _n, _word, {{word.first}});
            {% if resets %}
            for (int _j = _n; _j < _n + _more; _j++) {
                const int _idx = _row + _list[_j];
                const int _vectorisation_idx = _idx;
                {{vector_code['reset']|autoindent}}
            }
            {% endif %}
            _n += _more;
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
